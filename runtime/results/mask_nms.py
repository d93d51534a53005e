"""Greedy non-maximum suppression by mask IoU, exact, without the IoU of every pair.

    score order: the best one left is kept, those of its label with IoU > limit leave, again

Proposals come as hundreds of near duplicates. Only a kept mask is compared with those after it, and
only where it could suppress: the shared area is at most the area shared by the two boxes and at
most the smaller mask, which bounds the IoU from above. pycocotools counts the rest on the runs.

Source: FastMask's demos suppress proposals at mask IoU 0.5 (video in order of score, pictures in
order of window, which is taken for a slip: score order here).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, SessionError, pip_line
from .rle import Rle

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


def kept_by_mask_nms(
    rles: Sequence[Rle], scores: Float, labels: npt.NDArray[np.int32], mask_iou: float
) -> Index:
    """Places of the masks that suppression keeps, rising.

    Args:
        rles: N masks of one picture.
        scores: (N,) float32; equal ones keep their order.
        labels: (N,) int32; masks of different labels never suppress each other.
        mask_iou: in (0, 1]; a mask with a greater IoU with a kept one is suppressed.

    Raises:
        InputError: `mask_iou` is out of range.
        SessionError: pycocotools is not installed.
    """
    check_mask_iou(mask_iou)
    coco_mask = _coco_mask()
    if not rles:
        return np.zeros(0, dtype=np.intp)
    bounds = _Bounds(coco_mask.toBbox(list(rles)), mask_areas(rles))
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(int(best))
        near = np.flatnonzero(
            (bounds.with_(best, rest) > mask_iou) & (labels[rest] == labels[best])
        )
        others = [rles[index] for index in rest[near]]
        iou = coco_mask.iou([rles[best]], others, [0] * len(others))[0] if others else np.zeros(0)
        left = np.delete(rest, near[iou > mask_iou])
    return np.sort(np.array(kept, dtype=np.intp))


def check_mask_iou(mask_iou: float) -> None:
    """InputError unless the limit is in (0, 1]."""
    if not 0 < mask_iou <= 1:  # written so that NaN fails
        raise InputError(
            f"mask suppression at IoU {mask_iou}: expected above 0 and at most 1, which suppresses "
            "nothing. Correct it."
        )


def mask_areas(rles: Sequence[Rle]) -> Double:
    """(N,) float64 foreground pixels of each mask; SessionError without pycocotools."""
    coco_mask = _coco_mask()
    # One by one: pycocotools 2.0.11 refuses a list of more than 255 masks.
    return np.array([coco_mask.area(rle) for rle in rles], dtype=np.float64)


def _coco_mask() -> Any:
    try:
        from pycocotools import mask
    except ImportError as err:
        raise SessionError(
            f"mask suppression: pycocotools is not installed; mask IoU needs it. {pip_line('cpu')}."
        ) from err
    return mask


class _Bounds:
    """What the masks' boxes and areas allow their IoU to be at most."""

    def __init__(self, xywh: Double, areas: Double) -> None:
        self._low, self._high = xywh[:, :2], xywh[:, :2] + xywh[:, 2:]
        self._areas = areas

    def with_(self, one: np.intp, others: Index) -> Double:
        """(M,) upper bounds of the IoU of mask `one` with `others`."""
        low = np.maximum(self._low[one], self._low[others])
        high = np.minimum(self._high[one], self._high[others])
        boxes_share = (high - low).clip(min=0).prod(axis=1)
        smaller = np.minimum(self._areas[one], self._areas[others])
        shared = np.minimum(boxes_share, smaller)
        union = self._areas[one] + self._areas[others] - shared
        return np.asarray(shared / np.maximum(union, 1.0), dtype=np.float64)
