"""Predictions as the detections that COCOeval takes, of boxes or of masks.

Box rows carry no segmentation and mask rows no box: COCOeval takes small, medium and large from
the area of whatever a row holds, and masks must be classed by mask area. Source: detectron2's
COCO evaluator removes `bbox` for the same reason.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from .accuracy import Kind
from .data import CocoData


def evaluator_of(
    data: CocoData, rows: Sequence[dict[str, Any]], kind: Kind, image_ids: Sequence[int]
) -> Any:
    """A `COCOeval` of result rows over these pictures; it prints, its callers silence it.

    Args:
        data: ground truth.
        rows: of `coco_rows`; none at all is allowed.
        kind: what is compared.
        image_ids: the pictures to evaluate.
    """
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        results = _results(data, rows, kind)
    evaluator = COCOeval(data.truth, results, "bbox" if kind == "box" else "segm")
    evaluator.params.imgIds = sorted(image_ids)
    return evaluator


def _results(data: CocoData, rows: Sequence[dict[str, Any]], kind: Kind) -> Any:
    left_out = "segmentation" if kind == "box" else "bbox"
    kept = [{key: value for key, value in row.items() if key != left_out} for row in rows]
    if kept:
        return data.truth.loadRes(kept)
    from pycocotools.coco import COCO

    empty = COCO()  # loadRes looks at the first row, so no detections need an index of their own
    empty.dataset = {**data.truth.dataset, "annotations": []}
    empty.createIndex()
    return empty
