"""Average recall of class-agnostic proposals, of boxes and of masks, on the 0-100 scale.

    AR@n = mean over IoU 0.50:0.05:0.95 of the share of objects that one of the n best proposals
           of their picture covers with at least that IoU, each proposal serving one object

Matching, size limits and ignoring crowd regions are COCOeval's own, with `useCats` off and
`maxDets` 10, 100, 1000. Its `accumulate` is not used: it also traces the precision of every
proposal in a Python loop, for each threshold, area and limit. The matches of `evaluate` are counted
instead, by the rule that gives its `eval["recall"]`, and so few pictures at a time that 1000
proposals of each of 5000 need not be in memory as rows and match tables at once. Counts are kept by
picture, for the recall of resampled ones.

Source: Hosang et al. 2016, What makes for effective detection proposals, sec. 5; COCO's AR.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .accuracy import AR_NAMES, KINDS, NO_TRUTH, Kind, Values
from .data import CocoData
from .matches import RecallMatches
from .predictions import Prediction, coco_rows
from .results import evaluator_of

Count = npt.NDArray[np.int64]

PROPOSALS = (10, 100, 1000)
RECALL_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""COCOeval's default thresholds, as figures label them."""
PICTURES_AT_ONCE = 20
_AREAS = ("all", "small", "medium", "large")  # COCOeval's order
_SIZED_BY = 1  # sizes are told apart for the best 100 proposals


@dataclass(frozen=True)
class CocoRecall:
    """Recall of boxes and masks."""

    average: Values
    """By kind, with the keys `AR_NAMES`, in [0, 100]; -1 where there is no object of that size."""
    curves: dict[str, dict[str, list[float]]]
    """By kind and by `AR@10`, `AR@100`, `AR@1000`: recall in [0, 100] at each of `RECALL_IOUS`;
    empty lists where there is no object."""
    matches: dict[Kind, RecallMatches]
    """What `AR@10`, `AR@100` and `AR@1000` were taken from, by picture."""


def coco_ar(data: CocoData, predictions: Sequence[Prediction]) -> CocoRecall:
    """Recall over the predicted pictures, whatever the classes.

    Args:
        data: ground truth.
        predictions: one per evaluated picture, also for pictures where nothing was found. Labels
            are not looked at; proposals beyond the best 1000 do not count.
    """
    counts = {kind: _counted(data, predictions, kind) for kind in KINDS}
    sums = {kind: (found.sum(axis=0), there.sum(axis=0)) for kind, (found, there) in counts.items()}
    return CocoRecall(
        average={kind: _averages(*sums[kind]) for kind in KINDS},
        curves={kind: _curves(*sums[kind]) for kind in KINDS},
        matches={kind: _matches(*counts[kind]) for kind in KINDS},
    )


def _counted(data: CocoData, predictions: Sequence[Prediction], kind: Kind) -> tuple[Count, Count]:
    """Objects found (I, T, A, M) by picture, threshold, area and limit, and those there (I, A).

    Pictures by rising id, which two artefacts of one data set have in common.
    """
    ordered = sorted(predictions, key=lambda prediction: prediction.image_id)
    places = {prediction.image_id: place for place, prediction in enumerate(ordered)}
    shape = (len(ordered), len(RECALL_IOUS), len(_AREAS), len(PROPOSALS))
    found = np.zeros(shape, dtype=np.int64)
    there = np.zeros((len(ordered), len(_AREAS)), dtype=np.int64)
    for start in range(0, len(ordered), PICTURES_AT_ONCE):
        for table in _evaluated(data, ordered[start : start + PICTURES_AT_ONCE], kind):
            place, area = places[table["image_id"]], table["area"]
            hits = (table["dtMatches"] > 0) & ~table["dtIgnore"]  # (T, D), best first
            for limit, most in enumerate(PROPOSALS):
                found[place, :, area, limit] += hits[:, :most].sum(axis=1)
            there[place, area] += int((table["gtIgnore"] == 0).sum())
    return found, there


def _matches(found: Count, there: Count) -> RecallMatches:
    names = AR_NAMES[: len(PROPOSALS)]
    of_any_size = found[:, :, 0].mean(axis=1)  # (I, M)
    return RecallMatches(
        found={name: of_any_size[:, limit] for limit, name in enumerate(names)},
        there=there[:, 0].astype(np.float64),
    )


def _evaluated(
    data: CocoData, predictions: Sequence[Prediction], kind: Kind
) -> list[dict[str, Any]]:
    """COCOeval's match tables of some pictures, one per picture and area, `area` its index."""
    # Without categories all proposals count alike, but a row needs one that the data knows.
    labels = 1 + max(int(prediction.labels.max(initial=0)) for prediction in predictions)
    rows = coco_rows(predictions, data.category_ids[:1] * labels)
    evaluator = evaluator_of(data, rows, kind, [p.image_id for p in predictions])
    evaluator.params.useCats = 0
    evaluator.params.maxDets = list(PROPOSALS)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
    areas = [tuple(limits) for limits in evaluator.params.areaRng]
    tables = [table for table in evaluator.evalImgs if table is not None]
    return [{**table, "area": areas.index(tuple(table["aRng"]))} for table in tables]


def _averages(found: Count, there: Count) -> dict[str, float]:
    cells = [(0, limit) for limit in range(len(PROPOSALS))]
    cells += [(area, _SIZED_BY) for area in range(1, len(_AREAS))]
    return {
        name: 100.0 * float(found[:, area, limit].mean()) / int(there[area])
        if there[area]
        else NO_TRUTH
        for name, (area, limit) in zip(AR_NAMES, cells, strict=True)
    }


def _curves(found: Count, there: Count) -> dict[str, list[float]]:
    return {
        name: (100.0 * found[:, 0, limit] / there[0]).tolist() if there[0] else []
        for limit, name in enumerate(AR_NAMES[: len(PROPOSALS)])
    }
