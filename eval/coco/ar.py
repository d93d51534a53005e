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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .accuracy import AR_NAMES, KINDS, NO_TRUTH, Kind, Values
from .data import CocoData
from .matches import RecallMatches
from .predictions import Prediction, coco_rows
from .results import MatchTable, evaluator_of, match_tables

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
    image_ids = [prediction.image_id for prediction in predictions]
    tables = {kind: _in_parts(data, predictions, kind) for kind in KINDS}
    return recall_of(image_ids, tables)


def match_proposals(
    data: CocoData, predictions: Sequence[Prediction]
) -> dict[Kind, list[MatchTable]]:
    """How the proposals of some pictures match their objects; arguments as `coco_ar`."""
    return {kind: list(_in_parts(data, predictions, kind)) for kind in KINDS}


def recall_of(image_ids: Sequence[int], tables: Mapping[Kind, Iterable[MatchTable]]) -> CocoRecall:
    """Recall over pictures that were matched, all at once or in parts.

    Args:
        image_ids: the pictures.
        tables: of `match_proposals`, in any order.
    """
    counts = {kind: _counted(image_ids, found) for kind, found in tables.items()}
    sums = {kind: (found.sum(axis=0), there.sum(axis=0)) for kind, (found, there) in counts.items()}
    return CocoRecall(
        average={kind: _averages(*each) for kind, each in sums.items()},
        curves={kind: _curves(*each) for kind, each in sums.items()},
        matches={kind: _matches(*each) for kind, each in counts.items()},
    )


def _counted(image_ids: Sequence[int], tables: Iterable[MatchTable]) -> tuple[Count, Count]:
    """Objects found (I, T, A, M) by picture, threshold, area and limit, and those there (I, A).

    Pictures by rising id, which two artefacts of one data set have in common.
    """
    places = {image_id: place for place, image_id in enumerate(sorted(image_ids))}
    shape = (len(places), len(RECALL_IOUS), len(_AREAS), len(PROPOSALS))
    found = np.zeros(shape, dtype=np.int64)
    there = np.zeros((len(places), len(_AREAS)), dtype=np.int64)
    for table in tables:
        place = places[table.image_id]
        hits = table.matched & ~table.ignored  # (T, D), best first
        for limit, most in enumerate(PROPOSALS):
            found[place, :, table.area, limit] += hits[:, :most].sum(axis=1)
        there[place, table.area] += int((~table.objects_ignored).sum())
    return found, there


def _in_parts(
    data: CocoData, predictions: Sequence[Prediction], kind: Kind
) -> Iterator[MatchTable]:
    for start in range(0, len(predictions), PICTURES_AT_ONCE):
        yield from _matched(data, predictions[start : start + PICTURES_AT_ONCE], kind)


def _matches(found: Count, there: Count) -> RecallMatches:
    names = AR_NAMES[: len(PROPOSALS)]
    of_any_size = found[:, :, 0].mean(axis=1)  # (I, M)
    return RecallMatches(
        found={name: of_any_size[:, limit] for limit, name in enumerate(names)},
        there=there[:, 0].astype(np.float64),
    )


def _matched(data: CocoData, predictions: Sequence[Prediction], kind: Kind) -> list[MatchTable]:
    """The tables of some pictures, one per picture and size."""
    # Without categories all proposals count alike, but a row needs one that the data knows.
    labels = 1 + max(int(prediction.labels.max(initial=0)) for prediction in predictions)
    rows = coco_rows(predictions, data.category_ids[:1] * labels)
    evaluator = evaluator_of(data, rows, kind, [p.image_id for p in predictions])
    evaluator.params.useCats = 0
    evaluator.params.maxDets = list(PROPOSALS)
    return match_tables(evaluator)


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
