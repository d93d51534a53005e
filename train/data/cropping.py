"""What a window shows of a sample; polygons end exactly at its edge and at the picture's."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from ...eval.coco.segmentations import Segmentation
from .dataset import Bytes, Sample, rle_of, run_lengths
from .remains import areas_px, with_remains

_Points = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Window:
    """Part of a picture, or a frame around it."""

    corner_yx: tuple[int, int]
    """Its top left in the picture's pixels; negative ones are outside the picture."""
    size_hw: tuple[int, int]


def cropped(sample: Sample, window: Window) -> Sample:
    """The sample in the window's own pixels, zeros where there is no picture.

    What is left of instances, and which of them stay, is `with_remains`'s rule.
    """
    low, high = _covered(sample.image.shape, window)
    corner = window.corner_yx[::-1]
    boxes = sample.boxes - np.array(corner * 2, np.float32)
    seen = dataclasses.replace(
        sample,
        image=_seen(sample.image, window),
        boxes=boxes.clip(np.array(low * 2, np.float32), np.array(high * 2, np.float32)),
    )
    left = [_seen_segmentation(s, sample, window) for s in sample.segmentations]
    return with_remains(seen, left, areas_px(sample))


def _covered(
    image_shape: tuple[int, ...], window: Window
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Least and greatest x, y of the picture in the window."""
    (top, left), (height, width) = window.corner_yx, window.size_hw
    low = max(-left, 0), max(-top, 0)
    return low, (min(image_shape[1] - left, width), min(image_shape[0] - top, height))


def _seen(array: Bytes, window: Window) -> Bytes:
    """(H, W, ...) of the picture as the window shows it."""
    (left, top), (right, bottom) = _covered(array.shape, window)
    shown = np.zeros((*window.size_hw, *array.shape[2:]), np.uint8)
    y, x = window.corner_yx
    shown[top:bottom, left:right] = array[top + y : bottom + y, left + x : right + x]
    return shown


def _seen_segmentation(segmentation: Segmentation, sample: Sample, window: Window) -> Segmentation:
    """What the window shows of it; [] where that is nothing."""
    image_shape = sample.image.shape
    if isinstance(segmentation, list):
        parts = [_seen_polygon(polygon, image_shape, window) for polygon in segmentation]
        return [part for part in parts if part]
    mask = _seen(coco_mask.decode(rle_of(segmentation, image_shape[:2])), window)
    return run_lengths(mask)


def _seen_polygon(
    polygon: list[float], image_shape: tuple[int, ...], window: Window
) -> list[float]:
    points = np.asarray(polygon, np.float64).reshape(-1, 2) - window.corner_yx[::-1]
    for limits, sign in zip(_covered(image_shape, window), (1, -1), strict=True):
        for axis, limit in enumerate(limits):
            points = _half(points, axis, limit, sign)
    flat: list[float] = points.ravel().tolist()
    return flat


def _half(points: _Points, axis: int, limit: float, sign: int) -> _Points:
    """The part of a polygon on one side of a line, (P, 2) to (Q, 2).

    Source: Sutherland and Hodgman 1974, Reentrant polygon clipping. Where a polygon leaves and
    comes back, what is left hangs together along the line, by an edge without area.
    """
    inside = (depth := sign * (points[:, axis] - limit)) >= 0
    if inside.all():
        return points
    kept = []
    for here, there in zip(range(-1, len(points) - 1), range(len(points)), strict=True):
        if inside[here] != inside[there]:
            share = depth[here] / (depth[here] - depth[there])
            crossing = points[here] + share * (points[there] - points[here])
            crossing[axis] = limit
            kept.append(crossing)
        if inside[there]:
            kept.append(points[there])
    return np.array(kept).reshape(-1, 2)
