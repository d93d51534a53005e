"""COCO average precision of boxes and, if any, of masks, by pycocotools, on the 0-100 scale.

Size limits, matching and the 101-point AP are COCOeval's own. Its matches are kept by picture
(`matches`), so that the AP of resampled pictures needs no second matching.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .accuracy import AP_NAMES, NO_TRUTH, Kind, Values
from .data import CocoData, category_ids_for
from .matches import CategoryMatches, PrecisionMatches
from .predictions import Prediction, coco_rows, kinds_of
from .results import evaluator_of

MAX_DETECTIONS = 100
"""COCO's limit: of each class the best so many of a picture are evaluated, the rest ignored."""


@dataclass(frozen=True)
class CocoPrecision:
    """Precision of boxes and masks."""

    average: Values
    """By kind, with the keys `AP_NAMES`, in [0, 100]; -1 where the evaluated pictures hold no
    ground truth of that size. No detection at all is 0."""
    matches: dict[Kind, PrecisionMatches]
    """What `AP` was taken from, by picture."""
    crowded: int
    """Pictures with more objects of one class than `MAX_DETECTIONS`: AP cannot reach 100."""


def coco_ap(
    data: CocoData,
    predictions: Sequence[Prediction],
    class_names: Sequence[str] | None = None,
) -> CocoPrecision:
    """Box and mask AP over the predicted pictures; box AP alone where a model gives no masks.

    Args:
        data: ground truth.
        predictions: one per evaluated picture, also for pictures where nothing was found.
        class_names: names of the predictions' labels; None when they are the data's own.

    Raises:
        InputError: `class_names` are not the data's categories.
    """
    category_ids = category_ids_for(data, class_names or data.class_names, "the predictions")
    rows = coco_rows(predictions, category_ids)
    image_ids = [prediction.image_id for prediction in predictions]
    evaluators = {kind: _evaluated(data, rows, kind, image_ids) for kind in kinds_of(predictions)}
    matches = {kind: _matches(evaluator) for kind, evaluator in evaluators.items()}
    return CocoPrecision(
        average={kind: _averages(evaluator) for kind, evaluator in evaluators.items()},
        matches=matches,
        crowded=matches["box"].pictures_above(MAX_DETECTIONS),
    )


def _evaluated(
    data: CocoData, rows: list[dict[str, Any]], kind: Kind, image_ids: Sequence[int]
) -> Any:
    evaluator = evaluator_of(data, rows, kind, image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def _averages(evaluator: Any) -> dict[str, float]:
    values = [float(value) for value in evaluator.stats[: len(AP_NAMES)]]
    return {
        name: NO_TRUTH if value < 0 else 100.0 * value
        for name, value in zip(AP_NAMES, values, strict=True)
    }


def _matches(evaluator: Any) -> PrecisionMatches:
    """Of objects of any size: the first of COCOeval's areas, in its order of the tables."""
    images, areas = len(evaluator.params.imgIds), len(evaluator.params.areaRng)
    tables = evaluator.evalImgs
    starts = [category * areas * images for category in range(len(evaluator.params.catIds))]
    found = [_category(tables[start : start + images], images) for start in starts]
    return PrecisionMatches(images, tuple(category for category in found if category is not None))


def _category(tables: Sequence[dict[str, Any] | None], images: int) -> CategoryMatches | None:
    """One category's detections of all pictures, best first; None where it has no object."""
    known = [(place, table) for place, table in enumerate(tables) if table is not None]
    there = np.zeros(images)
    for place, table in known:
        there[place] = np.count_nonzero(np.equal(table["gtIgnore"], 0))
    if not there.any():
        return None
    scores = np.concatenate([table["dtScores"][:MAX_DETECTIONS] for _, table in known])
    order = np.argsort(-scores, kind="mergesort")  # COCOeval's
    matched = np.concatenate([t["dtMatches"][:, :MAX_DETECTIONS] for _, t in known], axis=1) > 0
    ignored = np.concatenate([t["dtIgnore"][:, :MAX_DETECTIONS] for _, t in known], axis=1) > 0
    owners = np.concatenate(
        [np.full(len(table["dtScores"][:MAX_DETECTIONS]), place) for place, table in known]
    )
    return CategoryMatches(
        pictures=owners[order].astype(np.int64),
        found=(matched & ~ignored)[:, order],
        ignored=ignored[:, order],
        there=there,
    )
