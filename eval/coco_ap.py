"""COCO average precision of boxes and of masks, by pycocotools, on the 0-100 scale.

Box rows carry no segmentation and mask rows no box: COCOeval takes small, medium and large from
the area of whatever a row holds, and masks must be classed by mask area. Source: detectron2's
COCO evaluator removes `bbox` for the same reason; size limits and the 101-point AP are COCOeval's
own.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .coco_data import CocoData, category_ids_for
from .predictions import Prediction, coco_rows

Kind = Literal["box", "mask"]

AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""COCOeval's first six numbers: IoU 0.50:0.95, 0.50, 0.75, then by size at 0.50:0.95."""
NO_TRUTH = -1.0
"""COCOeval's value where no ground truth falls in a class, e.g. no small object; shown as n/a."""


@dataclass(frozen=True)
class Accuracy:
    """The measured accuracy of one artefact, as tables and the report show it."""

    name: str
    """What the reader calls it, e.g. `lsc_mask_rcnn_tiny.onnx`."""
    backend: str
    precision: str
    sha256: str
    """Of the artefact's file: a latency is shown beside the accuracy of the same bytes only."""
    images: int
    box: dict[str, float]
    mask: dict[str, float]


def coco_ap(
    data: CocoData,
    predictions: Sequence[Prediction],
    class_names: Sequence[str] | None = None,
) -> dict[str, dict[str, float]]:
    """Box and mask AP over the predicted pictures.

    Args:
        data: ground truth.
        predictions: one per evaluated picture, also for pictures where nothing was found.
        class_names: names of the predictions' labels; None when they are the data's own.

    Returns:
        {"box": {...}, "mask": {...}} with the keys `AP_NAMES`, values in [0, 100], or -1 where the
        evaluated pictures hold no ground truth of that size. No detection at all is 0.

    Raises:
        InputError: `class_names` are not the data's categories.
    """
    category_ids = category_ids_for(data, class_names or data.class_names, "the predictions")
    rows = coco_rows(predictions, category_ids)
    image_ids = [prediction.image_id for prediction in predictions]
    return {"box": _ap(data, rows, "box", image_ids), "mask": _ap(data, rows, "mask", image_ids)}


def accuracy_json(accuracy: Accuracy) -> dict[str, Any]:
    """The accuracy as plain JSON values."""
    return asdict(accuracy)


def _ap(
    data: CocoData, rows: list[dict[str, Any]], kind: Kind, image_ids: Sequence[int]
) -> dict[str, float]:
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        results = _results(data, rows, kind)
        evaluator = COCOeval(data.truth, results, "bbox" if kind == "box" else "segm")
        evaluator.params.imgIds = sorted(image_ids)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    values = [float(value) for value in evaluator.stats[: len(AP_NAMES)]]
    return {
        name: NO_TRUTH if value < 0 else 100.0 * value
        for name, value in zip(AP_NAMES, values, strict=True)
    }


def _results(data: CocoData, rows: list[dict[str, Any]], kind: Kind) -> Any:
    left_out = "segmentation" if kind == "box" else "bbox"
    kept = [{key: value for key, value in row.items() if key != left_out} for row in rows]
    if kept:
        return data.truth.loadRes(kept)
    from pycocotools.coco import COCO

    empty = COCO()  # loadRes looks at the first row, so no detections need an index of their own
    empty.dataset = {**data.truth.dataset, "annotations": []}
    empty.createIndex()
    return empty
