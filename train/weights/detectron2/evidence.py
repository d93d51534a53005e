"""Settings that a Detectron2 checkpoint shows by itself: depth, classes, and what old ones store.

Until 2020 `pixel_mean`, `pixel_std` and the anchors of one cell were saved with the weights. Newer
files have none of them, and then only a config says what the network was trained with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....runtime.errors import InputError
from ...recipes.mask_rcnn_fpn import LEVELS
from .settings import BLOCKS, typed

CLS_SCORE = "roi_heads.box_predictor.cls_score.weight"
OBJECTNESS = "proposal_generator.rpn_head.objectness_logits.weight"
CELL_ANCHORS = "proposal_generator.anchor_generator.cell_anchors"
PIXELS = {"pixel_mean": "input.mean", "pixel_std": "input.std"}
CLOSE = 1e-3
"""Relative; the stored values are float32, of which anchors are square roots."""

MOST_PX, MOST_CLASSES = 1e6, 10_000
"""Beyond any anchor and any data set: a tensor may claim rows that take no memory."""

Floats = npt.NDArray[np.float64]


def shown_by(file: Path, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Our recipe's keys that the tensors of `file` tell, e.g. {"input.mean": (103.53, ...)}.

    Raises:
        InputError: a stored value that no network has.
    """
    values = _pixels(file, weights)
    grids = _grids(file, weights)
    if grids:
        values["model.anchor_sizes_px"], values["model.anchor_ratios"] = grids[0]
    found = (re.match(r"backbone\.res4\.(\d+)\.", name) for name in weights)
    count = len({match[1] for match in found if match})
    for blocks in BLOCKS.values():
        if blocks[2] == count:
            values["model.blocks"] = tuple(blocks)
    return values


def shown_by_pyramid(file: Path, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Pixels and anchors alone, one size a level; errors as `shown_by`."""
    values = _pixels(file, weights)
    grids = _grids(file, weights)
    if grids:
        if len(grids) != LEVELS or any(len(s) != 1 or r != grids[0][1] for s, r in grids):
            raise InputError(
                f"{file}: its stored anchors are of {len(grids)} levels with {grids[0][0]} first; "
                f"expected {LEVELS}, one size each, all of the same ratios. Choose another file."
            )
        values["model.anchor_sizes_px"] = tuple(sizes[0] for sizes, _ in grids)
        values["model.anchor_ratios"] = grids[0][1]
    return values


def _pixels(file: Path, weights: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, key in PIXELS.items():
        if name in weights:
            pixels = [float(str(np.float32(v))) for v in _numbers(file, name, weights[name], 3)]
            values[key] = typed(file, name, key, pixels)
    return values


def _grids(
    file: Path, weights: Mapping[str, Any]
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Sizes and ratios of each level's stored anchors."""
    names = [f"{CELL_ANCHORS}.{level}" for level in range(LEVELS)]
    stored = {name: weights[name] for name in names if name in weights}
    return [
        _grid(file, name, _numbers(file, name, value).reshape(-1, 4))
        for name, value in stored.items()
    ]


def class_count(file: Path, weights: Mapping[str, Any]) -> int:
    """Rows of the class scores but the last, which is the background's; 0 without any."""
    shape = tuple(getattr(weights.get(CLS_SCORE), "shape", ()))
    count = shape[0] - 1 if shape else 0
    if count > MOST_CLASSES:
        raise InputError(
            f"{file}: '{CLS_SCORE}' has {count + 1} rows; expected at most {MOST_CLASSES} classes "
            "and the background. Choose another file."
        )
    return count


def anchors_per_cell(weights: Mapping[str, Any]) -> int:
    """Channels of the objectness; 0 without any."""
    shape = tuple(getattr(weights.get(OBJECTNESS), "shape", ()))
    return shape[0] if shape else 0


def _numbers(file: Path, name: str, value: Any, count: int | None = None) -> Floats:
    """A stored tensor or array as flat float64; `count` or a multiple of 4 of them."""
    try:
        numbers = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, RuntimeError):
        numbers = np.array([np.nan])
    right = numbers.size == count if count else numbers.size > 0 and numbers.size % 4 == 0
    if not right or not (np.abs(numbers) < MOST_PX).all():  # never so for NaN
        raise InputError(
            f"{file}: '{name}' is not {f'{count} numbers' if count else 'boxes'} in pixels; "
            "expected what Detectron2 stores there. Choose another file."
        )
    return numbers


def _grid(file: Path, name: str, anchors: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Boxes (A, 4) around 0 -> the sizes and ratios they are made of, ratios varying faster."""
    width, height = (anchors[:, 2:] - anchors[:, :2]).T
    if (width > 0).all() and (height > 0).all():
        size, ratio = np.sqrt(width * height), height / width
        ratios = int(np.isclose(size, size[0], rtol=CLOSE).sum())
        sizes = size[::ratios]
        made = [_box(s, r) for s in sizes for r in ratio[:ratios]]
        if np.shape(made) == anchors.shape and np.allclose(made, anchors, rtol=CLOSE, atol=CLOSE):
            return _rounded(sizes), _rounded(ratio[:ratios])
    raise InputError(
        f"{file}: '{name}' holds no grid of sizes and ratios around 0; expected what "
        "Detectron2's DefaultAnchorGenerator makes. Choose another file."
    )


def _box(size: float, ratio: float) -> tuple[float, float, float, float]:
    width = size / ratio**0.5
    height = width * ratio
    return -width / 2, -height / 2, width / 2, height / 2


def _rounded(values: Floats) -> tuple[float, ...]:
    """Without what float32 added."""
    return tuple(float(f"{value:.5g}") for value in values)
