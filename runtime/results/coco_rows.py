"""Instances as the rows of a COCO results file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from .rle import Rle


class CocoBox(TypedDict):
    """One row of a COCO results file; `bbox` is xywh in pixels of the original picture."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float


class CocoResult(CocoBox, total=False):
    """With its mask, where the network gives masks."""

    segmentation: Rle


def coco_rows(
    image_id: int,
    category_ids: Sequence[int],
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    rles: Sequence[Rle] | None,
) -> list[CocoResult]:
    """A row for each instance.

    Args:
        image_id: the picture's id in the annotation file.
        category_ids: N ids.
        boxes: (N, 4) float32 xyxy in pixels.
        scores: (N,) float32.
        rles: N masks, or None where there are none.
    """
    x0, y0, x1, y1 = boxes.astype(np.float64).T
    xywh = np.stack((x0, y0, x1 - x0, y1 - y0), axis=1)
    rows = [
        CocoResult(image_id=image_id, category_id=int(of), bbox=box.tolist(), score=float(score))
        for of, box, score in zip(category_ids, xywh, scores, strict=True)
    ]
    if rles is not None:
        for row, rle in zip(rows, rles, strict=True):
            row["segmentation"] = rle
    return rows
