"""COCO average precision of boxes and, if any, of masks, by pycocotools, on the 0-100 scale.

Size limits, matching and the 101-point AP are COCOeval's own. Its matches are kept by picture
(`matches`), so that the AP of resampled pictures needs no second matching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from ..matching.evaluators import evaluate, require_faster
from .accuracy import AP_NAMES, NO_TRUTH, Kind, Values
from .data import CocoData, category_ids_for
from .matches import CategoryMatches, PrecisionMatches
from .predictions import Prediction, coco_rows, kinds_of
from .results import MatchTable, accumulated, evaluator_of, match_tables

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
    image_ids = [prediction.image_id for prediction in predictions]
    return precision_of(data, image_ids, match_instances(data, predictions, class_names))


def boundary_ap(
    data: CocoData,
    predictions: Sequence[Prediction],
    class_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """AP of masks where IoU is also that of their boundaries, by `AP_NAMES` in [0, 100].

    IoU is the smaller of the masks' and of the parts of them within 2 % of the picture's diagonal
    from their edges, so that a rough edge costs a large object too.

    Arguments as `coco_ap`.

    Raises:
        InputError: as `coco_ap`, there are no masks, or faster-coco-eval is not installed.

    Source: Cheng et al. 2021, Boundary IoU, arXiv 2103.16562.
    """
    require_faster("boundary AP")
    if "mask" not in kinds_of(predictions):
        raise InputError(
            "boundary AP: a model that gives boxes alone found; expected masks. Take a Mask R-CNN, "
            "or leave --boundary away."
        )
    category_ids = category_ids_for(data, class_names or data.class_names, "the predictions")
    image_ids = [prediction.image_id for prediction in predictions]
    evaluator = evaluator_of(data, coco_rows(predictions, category_ids), "boundary", image_ids)
    evaluate(evaluator)
    evaluator.accumulate()
    evaluator.summarize()
    return _averages(evaluator)


def match_instances(
    data: CocoData,
    predictions: Sequence[Prediction],
    class_names: Sequence[str] | None = None,
) -> dict[Kind, list[MatchTable]]:
    """How the instances of some pictures match their objects; arguments and errors as `coco_ap`."""
    category_ids = category_ids_for(data, class_names or data.class_names, "the predictions")
    rows = coco_rows(predictions, category_ids)
    image_ids = [prediction.image_id for prediction in predictions]
    return {
        kind: match_tables(evaluator_of(data, rows, kind, image_ids))
        for kind in kinds_of(predictions)
    }


def precision_of(
    data: CocoData, image_ids: Sequence[int], tables: Mapping[Kind, Sequence[MatchTable]]
) -> CocoPrecision:
    """Precision of pictures that were matched, all at once or in parts.

    Args:
        data: ground truth.
        image_ids: the pictures.
        tables: of `match_instances`, in any order.
    """
    evaluators = {
        kind: accumulated(evaluator_of(data, [], kind, image_ids), found)
        for kind, found in tables.items()
    }
    classes, images = len(data.category_ids), sorted(image_ids)
    matches = {kind: _matches(classes, images, found) for kind, found in tables.items()}
    return CocoPrecision(
        average={kind: _averages(evaluator) for kind, evaluator in evaluators.items()},
        matches=matches,
        crowded=matches["box"].pictures_above(MAX_DETECTIONS),
    )


def _averages(evaluator: Any) -> dict[str, float]:
    values = [float(value) for value in evaluator.stats[: len(AP_NAMES)]]
    return {
        name: NO_TRUTH if value < 0 else 100.0 * value
        for name, value in zip(AP_NAMES, values, strict=True)
    }


def _matches(
    classes: int, image_ids: Sequence[int], tables: Sequence[MatchTable]
) -> PrecisionMatches:
    """Of objects of any size, by rising image id."""
    places = {image_id: place for place, image_id in enumerate(image_ids)}
    known: list[list[tuple[int, MatchTable]]] = [[] for _ in range(classes)]
    for table in tables:
        if table.area == 0:
            known[table.category].append((places[table.image_id], table))
    found = [_category(sorted(of, key=lambda pair: pair[0]), len(image_ids)) for of in known]
    return PrecisionMatches(len(image_ids), tuple(each for each in found if each is not None))


def _category(known: Sequence[tuple[int, MatchTable]], images: int) -> CategoryMatches | None:
    """One category's detections of all pictures, best first; None where it has no object."""
    there = np.zeros(images)
    for place, table in known:
        there[place] = np.count_nonzero(~table.objects_ignored)
    if not there.any():
        return None
    scores = np.concatenate([table.scores for _, table in known])
    order = np.argsort(-scores, kind="mergesort")  # COCOeval's
    matched = np.concatenate([table.matched for _, table in known], axis=1)
    ignored = np.concatenate([table.ignored for _, table in known], axis=1)
    owners = np.concatenate([np.full(len(table.scores), place) for place, table in known])
    return CategoryMatches(
        pictures=owners[order].astype(np.int64),
        found=(matched & ~ignored)[:, order],
        ignored=ignored[:, order],
        there=there,
    )
