"""COCO average precision of boxes and of masks, by pycocotools, on the 0-100 scale.

Size limits and the 101-point AP are COCOeval's own.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from .accuracy import AP_NAMES, KINDS, NO_TRUTH, Kind, Values
from .data import CocoData, category_ids_for
from .predictions import Prediction, coco_rows
from .results import evaluator_of


def coco_ap(
    data: CocoData,
    predictions: Sequence[Prediction],
    class_names: Sequence[str] | None = None,
) -> Values:
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
    return {kind: _ap(data, rows, kind, image_ids) for kind in KINDS}


def _ap(
    data: CocoData, rows: list[dict[str, Any]], kind: Kind, image_ids: Sequence[int]
) -> dict[str, float]:
    evaluator = evaluator_of(data, rows, kind, image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    values = [float(value) for value in evaluator.stats[: len(AP_NAMES)]]
    return {
        name: NO_TRUTH if value < 0 else 100.0 * value
        for name, value in zip(AP_NAMES, values, strict=True)
    }
