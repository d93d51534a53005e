"""Instances of two sides, one by one: of equal label, overlapping, of equal score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

IOU, SCORE = 0.95, 1e-4
"""What a pair has: at least this IoU of boxes and of masks, scores at most so far apart."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Instances:
    """N instances of one picture."""

    boxes: Floats
    """(N, 4) xyxy px."""
    scores: Floats
    labels: npt.NDArray[np.int64]
    """From 0 on."""
    masks: Floats
    """(N, m, m) probabilities in the boxes' frames; (N, 0, 0) without a mask branch."""


@dataclass(frozen=True)
class Agreement:
    """Two sides on the same pictures."""

    instances: int
    """Of the first."""
    found: float
    """Share of the first's that the second has."""
    back: float
    """Share of the second's that the first has."""
    score: float
    """Largest difference of a pair's scores."""
    box_px: float
    """Largest difference of a pair's edges."""


def agreement(pairs: Sequence[tuple[Instances, Instances]]) -> Agreement:
    """Of (first, second) of each picture; NaN where nothing is found."""
    there = np.concatenate([matches(first, second) for first, second in pairs])
    back = np.concatenate([matches(second, first) for first, second in pairs])
    paired = there[there[:, 0] > 0, 1:]
    score, box_px = paired.max(axis=0) if len(paired) else (np.nan, np.nan)
    return Agreement(len(there), _share(there), _share(back), float(score), float(box_px))


def _share(rows: npt.NDArray[np.float64]) -> float:
    return float(rows[:, 0].mean()) if len(rows) else float("nan")


def matches(wanted: Instances, found: Instances) -> npt.NDArray[np.float64]:
    """(N, 3) of each wanted instance: whether it is in `found`, score and box difference."""
    rows = np.zeros((len(wanted.scores), 3))
    free = np.ones(len(found.scores), np.bool_)
    for i, row in enumerate(rows):
        scores = np.abs(found.scores - wanted.scores[i])
        same = free & (found.labels == wanted.labels[i]) & (scores <= SCORE)
        same &= _iou(wanted.boxes[i], found.boxes) >= IOU
        same &= _mask_iou(wanted.masks[i], found.masks) >= IOU
        if same.any():
            best = int(np.where(same, scores, np.inf).argmin())
            free[best] = False
            row[:] = (1, scores[best], np.abs(found.boxes[best] - wanted.boxes[i]).max())
    return rows


def _iou(box: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """(4,), (N, 4) xyxy -> (N,)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(common / np.maximum(areas - common, 1e-9), np.float64)


def _mask_iou(mask: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """(m, m), (N, m, m) -> (N,) of the cells at one half and above; 1 where there is none."""
    one, many = mask >= 0.5, others >= 0.5
    union = (one | many).sum(axis=(1, 2))
    return np.asarray(np.where(union, (one & many).sum(axis=(1, 2)) / np.maximum(union, 1), 1.0))


def stored(file: Path, count: int) -> list[Instances]:
    """What torchvision found in each of `count` pictures; its labels begin with the background."""
    with np.load(file) as found:
        return [
            Instances(
                found[f"boxes_{i}"],
                found[f"scores_{i}"],
                found[f"labels_{i}"] - 1,
                found[f"masks_{i}"][:, 0]
                if f"masks_{i}" in found.files
                else np.zeros((len(found[f"scores_{i}"]), 0, 0), np.float32),
            )
            for i in range(count)
        ]
