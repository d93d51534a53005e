"""What training does to a picture: mirror, scale, recolour; its instances follow.

Polygons stay polygons and are rasterized at the new size, so that a mask is as sharp as its
annotation; RLE masks are resampled. Nothing here draws from global random state: the caller's
generator decides everything.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ...eval.coco.segmentations import Segmentation
from ...runtime.contract import ResizeRule
from ...runtime.pictures.preprocess import scaled_size_hw
from .dataset import Bytes, Sample, rle_of


@dataclass(frozen=True)
class Augmentation:
    """What `augment` may do to a picture."""

    resize: ResizeRule
    short_sides_px: tuple[int, ...] = ()
    """The short side is drawn from these; empty means that of `resize`, always."""
    long_side_px: tuple[int, int] | None = None
    """The long side is drawn from this closed range; None means that of `resize`, always."""
    flip: float = 0.5
    """Probability of mirroring left to right, 0..1."""
    jitter: float = 0.0
    """Photometric strength 0..1: brightness, contrast and each channel vary by up to this share."""


def augment(sample: Sample, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
    """Mirror, scale and recolour one sample as `rng` decides; instances follow the picture.

    The scaled size is that of the runtime's `scaled_size_hw`, so training sees what inference sees.
    """
    rule = augmentation.resize
    if augmentation.short_sides_px:
        short = int(rng.choice(augmentation.short_sides_px))
        rule = dataclasses.replace(rule, short_side_px=short)
    if augmentation.long_side_px:
        long = int(rng.integers(*augmentation.long_side_px, endpoint=True))
        rule = dataclasses.replace(rule, long_side_px=long)
    # A square canvas of the long side never limits more than the rule itself does.
    size_hw = scaled_size_hw(sample.image.shape[:2], rule, (rule.long_side_px,) * 2)
    mirrored = rng.random() < augmentation.flip
    moved = _moved(sample, size_hw, mirrored)
    if augmentation.jitter > 0:
        recoloured = _recoloured(moved.image, augmentation.jitter, rng)
        moved = dataclasses.replace(moved, image=recoloured)
    return moved


def _moved(sample: Sample, size_hw: tuple[int, int], mirrored: bool) -> Sample:
    """Scale to `size_hw`, mirrored or not: x' = s x + t for boxes and polygons alike."""
    old_hw = sample.image.shape[:2]
    scale = np.array([size_hw[1] / old_hw[1], size_hw[0] / old_hw[0]] * 2, np.float32)
    image = sample.image
    if size_hw != old_hw:
        resized = cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
        image = np.asarray(resized, np.uint8)
    boxes = sample.boxes * scale
    if mirrored:
        image = np.asarray(cv2.flip(image, 1), np.uint8)
        boxes = boxes[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        boxes = boxes + np.array([size_hw[1], 0, size_hw[1], 0], np.float32)
    segmentations = tuple(
        _moved_segmentation(s, old_hw, size_hw, mirrored) for s in sample.segmentations
    )
    limit = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
    boxes = boxes.clip(0, limit)  # float32 may leave the picture by a rounding step
    return dataclasses.replace(sample, image=image, boxes=boxes, segmentations=segmentations)


def _moved_segmentation(
    segmentation: Segmentation, old_hw: tuple[int, ...], size_hw: tuple[int, int], mirrored: bool
) -> Segmentation:
    if isinstance(segmentation, list):
        return [_moved_polygon(p, old_hw, size_hw, mirrored) for p in segmentation]
    mask = coco_mask.decode(rle_of(segmentation, old_hw))
    if size_hw != old_hw:
        soft = cv2.resize(mask * 255, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
        mask = np.asarray(soft > 127, np.uint8)
    mask = mask[:, ::-1] if mirrored else mask
    moved: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask))
    return moved


def _moved_polygon(
    polygon: list[float], old_hw: tuple[int, ...], size_hw: tuple[int, int], mirrored: bool
) -> list[float]:
    points = np.asarray(polygon).reshape(-1, 2) * [size_hw[1] / old_hw[1], size_hw[0] / old_hw[0]]
    if mirrored:
        points[:, 0] = size_hw[1] - points[:, 0]
    moved: list[float] = points.ravel().tolist()
    return moved


def _recoloured(image: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Contrast about mid-grey, brightness and channel gains, as one table per channel."""
    contrast, brightness = 1 + strength * rng.uniform(-1, 1, 2)
    gains = brightness * (1 + strength * rng.uniform(-1, 1, 3))
    levels = (np.arange(256) - 127.5) * contrast + 127.5
    table = np.clip(np.round(levels[:, None] * gains), 0, 255).astype(np.uint8)[None]  # (1, 256, 3)
    return np.asarray(cv2.LUT(image, table), np.uint8)
