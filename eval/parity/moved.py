"""Which instances moved most between two artefacts, worst first.

    pair        the greater of |score - score| and (1 - mask IoU) * score; box IoU without masks
    alone       its score: it came or went

so that an instance whose score is low cannot move far, and 1 is the most. Pairs as in `pairing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..coco.predictions import Prediction
from ..report.table import NOT_AVAILABLE, Table
from .comparison import SCORE_FLOOR
from .pairing import paired

SHOWN = 10
"""Instances in the table."""
_NOTE = (
    "moved: the greater of the scores' difference and (1 - IoU) x score; of an instance that came "
    f"or went its score. Those of {SCORE_FLOOR} or more on one side."
)


@dataclass(frozen=True)
class Moved:
    """One instance, or pair of instances, of a picture."""

    image_id: int
    label: str
    moved: float
    """In [0, 1]; the module says how it is counted."""
    reference_score: float | None
    """None where the reference has no such instance."""
    candidate_score: float | None
    iou: float | None
    """Of the masks, or boxes without masks; None where one side has none."""


def most_moved(
    reference: Sequence[Prediction],
    candidate: Sequence[Prediction],
    class_names: Sequence[str],
) -> list[Moved]:
    """All that moved, the farthest first, of those with a score of `SCORE_FLOOR` on one side.

    Args:
        reference: predictions of the artefact believed right.
        candidate: of the other, of the same pictures in the same order.
        class_names: of both sides' labels.
    """
    found = [
        moved
        for pair in zip(reference, candidate, strict=True)
        for moved in _of_picture(*pair, class_names)
    ]
    return sorted(found, key=lambda moved: -moved.moved)


def pictures_of(moved: Sequence[Moved], most: int) -> list[int]:
    """Ids of the pictures that hold the first ones, each once, at most so many."""
    return list(dict.fromkeys(one.image_id for one in moved))[:most]


def moved_table(moved: Sequence[Moved], names: dict[int, str]) -> Table:
    """The farthest `SHOWN`; `names` of pictures by id."""
    rows = [
        (
            names[one.image_id],
            one.label,
            f"{one.moved:.3f}",
            _score(one.reference_score),
            _score(one.candidate_score),
            NOT_AVAILABLE if one.iou is None else f"{one.iou:.3f}",
        )
        for one in moved[:SHOWN]
    ]
    return Table(
        title="What moved most",
        columns=("picture", "class", "moved", "reference", "candidate", "IoU"),
        rows=tuple(rows),
        notes=(_NOTE,),
    )


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _of_picture(
    reference: Prediction, candidate: Prediction, class_names: Sequence[str]
) -> Iterator[Moved]:
    pairs = paired(reference, candidate)
    ious = pairs.box_iou if reference.rles is None else pairs.mask_iou
    for row, column, iou in zip(pairs.rows, pairs.columns, ious, strict=True):
        before, after = float(reference.scores[row]), float(candidate.scores[column])
        best = max(before, after)
        if best >= SCORE_FLOOR:
            far = max(abs(before - after), (1.0 - float(iou)) * best)
            label = class_names[reference.labels[row]]
            yield Moved(reference.image_id, label, far, before, after, float(iou))
    for side, taken in ((reference, pairs.rows), (candidate, pairs.columns)):
        for alone in np.setdiff1d(np.arange(len(side)), taken):
            score = float(side.scores[alone])
            if score >= SCORE_FLOOR:
                one, other = (score, None) if side is reference else (None, score)
                label = class_names[side.labels[alone]]
                yield Moved(side.image_id, label, score, one, other, None)
