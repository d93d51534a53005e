"""Which instance of one artefact is which of another, in one picture.

**Instances.** The reference's, in order of falling score, each take the free candidate of the same
label with the greatest overlap, if that is at least `PAIR_OVERLAP`. Overlap is the smaller of box
IoU and mask IoU.

**Proposals.** Two are a pair when they come from the same window, however their masks overlap. A
picture has up to 1000 of them, most of them near duplicates: by overlap any of a dozen would stand
in for a lost one, and the overlaps of a million pairs take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.results.mask_nms import mask_areas
from ..coco.predictions import Prediction

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

PAIR_OVERLAP = 0.5
SAME_WINDOW = 0.01
"""Greatest difference of an edge, as a share of the window's side: rounding; its neighbours are at
0.1."""


@dataclass(frozen=True)
class Pairs:
    """P pairs, each side's instance in at most one."""

    rows: Index
    """(P,) places in the reference."""
    columns: Index
    """(P,) places in the candidate."""
    box_iou: Array
    """(P,) in [0, 1]."""
    mask_iou: Array
    """(P,) in [0, 1]; two empty masks have 1, as do two boxes without masks."""


def paired(reference: Prediction, candidate: Prediction) -> Pairs:
    """Pair two artefacts' predictions of one picture, by window where both are proposals."""
    if reference.frames is not None and candidate.frames is not None:
        return _window_pairs(reference, candidate)
    return _overlap_pairs(reference, candidate)


def _overlap_pairs(reference: Prediction, candidate: Prediction) -> Pairs:
    box_iou, mask_iou = _box_iou(reference, candidate), _mask_iou(reference, candidate)
    overlap = np.minimum(box_iou, mask_iou)
    overlap[reference.labels[:, None] != candidate.labels[None, :]] = 0.0
    rows, columns = _greedy(overlap, reference.scores)
    return Pairs(rows, columns, box_iou[rows, columns], mask_iou[rows, columns])


def _window_pairs(reference: Prediction, candidate: Prediction) -> Pairs:
    from pycocotools import mask

    assert reference.rles is not None, "proposals have masks"
    assert candidate.rles is not None, "proposals have masks"
    rows, columns = _same_windows(reference, candidate)
    mask_ious = [
        mask.iou([reference.rles[row]], [candidate.rles[column]], [0]).item()
        for row, column in zip(rows, columns, strict=True)
    ]
    box_iou = _iou(reference.boxes[rows], candidate.boxes[columns])
    return Pairs(rows, columns, box_iou, np.array(mask_ious, dtype=np.float64))


def _same_windows(reference: Prediction, candidate: Prediction) -> tuple[Index, Index]:
    """Places of the windows that are on both sides."""
    first, second = _windows_of(reference), _windows_of(candidate)
    if not len(first) or not len(second):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    apart = np.zeros((len(first), len(second)))
    for edge in range(4):
        np.maximum(apart, np.abs(np.subtract.outer(first[:, edge], second[:, edge])), out=apart)
    nearest = apart.argmin(axis=1)
    rows = np.arange(len(first))
    same = apart[rows, nearest] <= SAME_WINDOW * (first[:, 2:] - first[:, :2]).min(axis=1)
    return rows[same], nearest[same]


def _windows_of(prediction: Prediction) -> Array:
    assert prediction.frames is not None, "only proposals are paired by window"
    return prediction.frames.astype(np.float64)


def _greedy(overlap: Array, scores: npt.NDArray[np.float32]) -> tuple[Index, Index]:
    """Greedy one-to-one pairing in order of falling reference score."""
    free = overlap.copy()
    pairs = []
    if free.size:
        for row in np.argsort(-scores, kind="stable"):
            column = int(free[row].argmax())
            if free[row, column] >= PAIR_OVERLAP:
                pairs.append((int(row), column))
                free[:, column] = 0.0
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return rows, columns


def _box_iou(reference: Prediction, candidate: Prediction) -> Array:
    return _iou(reference.boxes[:, None], candidate.boxes[None])  # (R, C)


def _iou(boxes: npt.NDArray[Any], others: npt.NDArray[Any]) -> Array:
    """IoU of two arrays of xyxy boxes, (..., 4) each, one with one."""
    a, b = boxes.astype(float), others.astype(float)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    return np.asarray(shared / np.maximum(union, 1e-9), dtype=np.float64)


def _mask_iou(reference: Prediction, candidate: Prediction) -> Array:
    """(R, C) IoU of full masks; two empty masks agree, an empty and another one do not."""
    from pycocotools import mask

    if not len(reference) or not len(candidate):
        return np.zeros((len(reference), len(candidate)))
    if reference.rles is None or candidate.rles is None:
        return np.ones((len(reference), len(candidate)))
    a, b = list(reference.rles), list(candidate.rles)
    iou = np.asarray(mask.iou(a, b, [0] * len(b)), dtype=np.float64)
    iou[np.ix_(mask_areas(a) == 0, mask_areas(b) == 0)] = 1.0
    return iou
