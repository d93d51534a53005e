"""A sample at another size, mirrored or not: x' = s x + t for boxes and polygons alike.

Polygons stay polygons and are rasterized at the new size, so that a mask is as sharp as its
annotation; RLE masks are resampled.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ...eval.coco.segmentations import Segmentation
from .dataset import Bytes, Sample, rle_of, run_lengths


@dataclasses.dataclass(frozen=True)
class Move:
    """From one size to another."""

    old_hw: tuple[int, ...]
    size_hw: tuple[int, int]
    seen_hw: tuple[int, int]
    """Size at which inference would see the picture. Smaller ones are averages of that one's
    pixels: INTER_LINEAR, which inference takes, would step over most of them."""
    mirrored: bool


def moved(sample: Sample, move: Move) -> Sample:
    """The sample at `move.size_hw`, mirrored left to right or not."""
    width, height = move.size_hw[::-1]
    scale = np.array([width / move.old_hw[1], height / move.old_hw[0]] * 2, np.float32)
    image = _resized(sample.image, move)
    boxes = sample.boxes * scale
    if move.mirrored:
        image = np.asarray(cv2.flip(image, 1), np.uint8)
        boxes = boxes[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        boxes = boxes + np.array([width, 0, width, 0], np.float32)
    segmentations = tuple(_moved_segmentation(s, move) for s in sample.segmentations)
    limit = np.array([width, height] * 2, np.float32)
    boxes = boxes.clip(0, limit)  # float32 may leave the picture by a rounding step
    return dataclasses.replace(sample, image=image, boxes=boxes, segmentations=segmentations)


def _resized(array: Bytes, move: Move) -> Bytes:
    """(H, W) or (H, W, 3) at the new size, not mirrored."""
    shrunk = sum(move.size_hw) < sum(move.seen_hw)
    for size_hw, interpolation in (
        (move.seen_hw if shrunk else move.size_hw, cv2.INTER_LINEAR),
        (move.size_hw, cv2.INTER_AREA),
    ):
        if array.shape[:2] != size_hw:
            resized = cv2.resize(array, size_hw[::-1], interpolation=interpolation)
            array = np.asarray(resized, np.uint8)
    return array


def _moved_segmentation(segmentation: Segmentation, move: Move) -> Segmentation:
    if isinstance(segmentation, list):
        return [_moved_polygon(polygon, move) for polygon in segmentation]
    mask = coco_mask.decode(rle_of(segmentation, move.old_hw))
    if move.size_hw != move.old_hw:
        mask = np.asarray(_resized(mask * 255, move) > 127, np.uint8)
    mask = mask[:, ::-1] if move.mirrored else mask
    return run_lengths(mask)


def _moved_polygon(polygon: list[float], move: Move) -> list[float]:
    height, width = move.size_hw
    points = np.asarray(polygon).reshape(-1, 2) * [width / move.old_hw[1], height / move.old_hw[0]]
    if move.mirrored:
        points[:, 0] = width - points[:, 0]
    flat: list[float] = points.ravel().tolist()
    return flat
