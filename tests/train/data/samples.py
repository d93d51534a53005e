"""Pictures with instances of which every pixel is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskrt.train.data.dataset import Sample


def square(x: float, y: float, side: float, height: float | None = None) -> list[list[float]]:
    """One polygon, `side` wide."""
    right, bottom = x + side, y + (side if height is None else height)
    return [[x, y, right, y, right, bottom, x, bottom]]


def sample_of(
    segmentations: Sequence[Any],
    size_hw: tuple[int, int] = (40, 60),
    crowds: Sequence[bool] = (),
    value: int = 0,
) -> Sample:
    """A picture of one value; each instance's label is its place, its box that of its mask."""
    count = len(segmentations)
    bare = Sample(
        image=np.full((*size_hw, 3), value, np.uint8),
        boxes=np.zeros((count, 4), np.float32),
        labels=np.arange(count),
        iscrowd=np.array([*crowds, *[False] * (count - len(crowds))], np.bool_),
        segmentations=tuple(segmentations),
        image_id=1,
    )
    boxes = np.array([box_of(mask) for mask in bare.masks()], np.float32).reshape(-1, 4)
    return dataclasses.replace(bare, boxes=boxes)


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def as_run_lengths(sample: Sample) -> Sample:
    """The same instances as RLE."""
    rles = tuple(coco_mask.encode(np.asfortranarray(mask)) for mask in sample.masks())
    return dataclasses.replace(sample, segmentations=rles)
