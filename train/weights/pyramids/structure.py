"""What the shapes of a pyramid's tensors tell of its network: depth, widths, layers, mask branch.

A file says so much whoever wrote it; what shapes cannot tell, such as pixels and thresholds, comes
from its config or from its library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

RES = tuple(f"backbone.res{stage}" for stage in (2, 3, 4, 5))
MOST_LAYERS = 64
"""Of one kind; names may go on without end."""
MOST_CLASSES = 10_000
"""Beyond any data set: a tensor may claim rows that take no memory."""


def structure_of(weights: Mapping[str, Any], name_of: Callable[[str], str]) -> dict[str, Any]:
    """Our recipe's keys that shapes tell, e.g. {"model.blocks": (3, 4, 6, 3), "model.mask": True}.

    A tensor that is missing tells nothing: the network's check of names reports it.

    Args:
        weights: the library's name -> array or tensor.
        name_of: our name -> the library's.
    """

    def shape(ours: str) -> tuple[int, ...]:
        return shape_of(weights, name_of(ours))

    def count(ours: str, first: int = 0) -> int:
        numbers = range(first, first + MOST_LAYERS)
        return next((n - first for n in numbers if not shape(ours.format(n))), MOST_LAYERS)

    values: dict[str, Any] = {
        "model.mask": bool(shape("mask_head.predictor.weight")),
        "model.head_norm": bool(shape("fpn.output2.norm.weight")),
        "model.rpn_convolutions": 1 + count("rpn.more.{}.weight"),
        "model.box_convolutions": count("box_head.convolutions.{}.weight"),
    }
    counted = {
        "model.blocks": tuple(count(f"{stage}.{{}}.conv1.weight") for stage in RES),
        "model.box_linears": count("box_head.fc{}.weight", 1),
        "model.stem_channels": _side(shape("backbone.stem.conv1.weight"), 0),
        "model.backbone_channels": _side(shape("backbone.res2.0.conv3.weight"), 0),
        "model.fpn_channels": _side(shape("fpn.output2.weight"), 0),
        "model.box_channels": _side(shape("box_head.fc1.weight"), 0),
        "model.mask_channels": _side(shape("mask_head.deconv.weight"), 1),
        "model.box_cells": _cells(shape("box_head.fc1.weight"), shape("fpn.output2.weight")),
    }
    values |= {key: value for key, value in counted.items() if value and value != (0, 0, 0, 0)}
    if values["model.mask"]:
        values["model.mask_convolutions"] = count("mask_head.convolutions.{}.weight")
    return values


def class_rows(weights: Mapping[str, Any], name_of: Callable[[str], str]) -> int:
    """Classes by the rows of the class scores, of which one is the background's; 0 without any."""
    rows = _side(shape_of(weights, name_of("box_predictor.cls_score.weight")), 0)
    return rows - 1 if 1 < rows <= MOST_CLASSES + 1 else 0


def shape_of(weights: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Of a tensor or array; empty where there is none."""
    return tuple(getattr(weights.get(name), "shape", ()))


def _side(shape: tuple[int, ...], axis: int) -> int:
    return shape[axis] if axis < len(shape) else 0


def _cells(linear: tuple[int, ...], level: tuple[int, ...]) -> int:
    """Side of the RoIs that a linear layer takes, flattened as c, y, x; 0 where it is none."""
    if len(linear) != 2 or not level or not level[0]:
        return 0
    side = math.isqrt(linear[1] // level[0])
    return side if side * side * level[0] == linear[1] else 0
