"""What changed between two artefacts' predictions, instance by instance and in AP or AR.

AP or AR alone hides a shift that all thresholds forgive and says nothing without ground truth, so
instances are compared too.

**Deltas** are over all pairs that `pairing` makes, also over those whose IoU is low, or the worst
would be left out by definition. A pair *agrees* when box IoU and mask IoU both reach 0.95.

**Matched share.** An instance *counts* when its score is at least `SCORE_FLOOR`; its partner may
have any score. The floor is twice the threshold of 0.05 at which such graphs drop detections, so
no counted instance can lack a partner merely because one side's score fell a hair below that
threshold; with proposals, which nothing drops, it leaves out background. The share of those in a
pair that agrees is taken in both directions (reference instances found in the candidate, candidate
instances found in the reference: lost ones and invented ones) and the smaller of the two is
`matched`.

**The slot limit.** An artefact has D detection slots. When a picture fills all D on both sides,
which of two instances with equal scores got the last slot is chance, so an unmatched instance
within `TIE_MARGIN` of its own side's last score is *excused*: it leaves the share and is reported
in `excused`. Only the tail of a full list can be excused, and a gate limits how much (`gates`).
Lists of proposals count as full: the best of thousands of windows, of which those without a
pixel in the picture were left out afterwards.

Nothing else is forgiven: two candidates of one object whose order flips in NMS count as
unmatched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ..coco.accuracy import GATED, NO_TRUTH, Kind, Metric, Values
from ..coco.predictions import Prediction, kinds_of
from .intervals import Interval, Intervals
from .pairing import Index, paired

Array = npt.NDArray[np.float64]
T = TypeVar("T")

MATCH_IOU = 0.95
SCORE_FLOOR = 0.1
TIE_MARGIN = 0.005  # FP16 scores near 0.1 to 1 are 0.0001 to 0.001 apart; several roundings
LOST_FROM = 10
"""Counted instances of a label of which none has a pair before the label is called lost."""


@dataclass(frozen=True)
class Parity:
    """What changed from a reference artefact to a candidate; terms as in the module docstring."""

    DERIVED: ClassVar = ("matched",)

    images: int
    pairs: int
    reference_counted: int
    candidate_counted: int
    reference_found: int
    candidate_found: int
    excused: int
    box_delta_max_px: float
    """Over pairs: greatest change of any of the four edges, original-picture pixels; 0 if none."""
    box_delta_mean_px: float
    """Over pairs: mean over all four edges of all pairs."""
    score_delta_max: float
    score_delta_mean: float
    mask_iou_mean: float
    """Over pairs; 1 if there are none."""
    invalid: int
    """Instances on either side with a score outside [0, 1] or a number that is not finite."""
    lost_classes: tuple[str, ...]
    """Classes of which one side counts `LOST_FROM` or more and none of them has a pair."""
    metric: Metric
    """What the changes below are of: AP of instances or AR of proposals."""
    box_changes: dict[str, float | None]
    """By name, `GATED[metric]`: the candidate's value minus the reference's, in points; None where
    it was not measured or there is no ground truth."""
    mask_changes: dict[str, float | None]
    """Empty of models that give boxes alone, as `mask_intervals`."""
    box_intervals: dict[str, Interval | None]
    """Of each change, its 95 % interval by bootstrap over the pictures, in points; None where there
    is no change or there are too few pictures."""
    mask_intervals: dict[str, Interval | None]
    baseless: tuple[str, ...]
    """Which of these, as "box AP", are 0 on the reference: nothing can be said of their change."""

    @property
    def changes(self) -> dict[str, float | None]:
        """All changes, by "box AP" and so on."""
        return _by_kind(self.box_changes, self.mask_changes)

    @property
    def intervals(self) -> dict[str, Interval | None]:
        """All intervals, by the same names."""
        return _by_kind(self.box_intervals, self.mask_intervals)

    @property
    def excused_share(self) -> float:
        """Of the instances that count, those that were excused."""
        counted = self.reference_counted + self.candidate_counted + self.excused
        return self.excused / counted if counted else 0.0

    @property
    def matched(self) -> float:
        """The smaller of the two directions' shares, in [0, 1]; 1 when nothing counts."""
        return min(
            _share(self.reference_found, self.reference_counted),
            _share(self.candidate_found, self.candidate_counted),
        )


def compare(
    reference: Sequence[Prediction],
    candidate: Sequence[Prediction],
    *,
    slots: int | None = None,
    metric: Metric = "AP",
    reference_values: Values | None = None,
    candidate_values: Values | None = None,
    intervals: Intervals | None = None,
    class_names: Sequence[str] = (),
) -> Parity:
    """Compare two artefacts' predictions picture by picture.

    Args:
        reference: predictions of the artefact believed right.
        candidate: predictions of the other, same pictures in the same order.
        slots: detections per picture that both graphs can hold (D); None when there is no limit.
        metric: AP of instances or detections, or AR of proposals.
        reference_values: `average` of `coco_ap` or `coco_ar` of the reference, where there is
            ground truth.
        candidate_values: the same of the candidate.
        intervals: of the changes, from `change_intervals`.
        class_names: of labels 0..C-1, to name lost ones by.

    Raises:
        InputError: the two were not made on the same pictures, or one of them has no masks.
    """
    if [p.image_id for p in reference] != [p.image_id for p in candidate]:
        raise InputError(
            f"parity: {len(reference)} and {len(candidate)} predictions are not of the same "
            "pictures in the same order; expected one each per picture. Predict the same data."
        )
    kinds = kinds_of(reference)
    if kinds_of(candidate) != kinds and len(reference):
        raise InputError(
            "parity: one model gives masks and the other boxes alone; expected two of one task. "
            "Name another reference."
        )
    pictures = [_compare_one(r, c, slots) for r, c in zip(reference, candidate, strict=True)]
    box_deltas = _joined([picture.box_deltas for picture in pictures])
    names = GATED[metric]
    changes = {k: _changes(reference_values, candidate_values, k, names) for k in kinds}
    intervals = intervals or {kind: dict.fromkeys(names) for kind in kinds}
    score_deltas = _joined([picture.score_deltas for picture in pictures])
    mask_ious = _joined([picture.mask_ious for picture in pictures])
    return Parity(
        images=len(pictures),
        pairs=len(score_deltas),
        reference_counted=sum(picture.reference.counted for picture in pictures),
        candidate_counted=sum(picture.candidate.counted for picture in pictures),
        reference_found=sum(picture.reference.found for picture in pictures),
        candidate_found=sum(picture.candidate.found for picture in pictures),
        excused=sum(picture.reference.excused + picture.candidate.excused for picture in pictures),
        box_delta_max_px=float(box_deltas.max(initial=0.0)),
        box_delta_mean_px=_mean(box_deltas, 0.0),
        score_delta_max=float(score_deltas.max(initial=0.0)),
        score_delta_mean=_mean(score_deltas, 0.0),
        mask_iou_mean=_mean(mask_ious, 1.0),
        invalid=sum(map(_invalid, (*reference, *candidate))),
        lost_classes=tuple(
            class_names[label] if class_names else f"label {label}"
            for label in _lost_labels(pictures)
        ),
        metric=metric,
        box_changes=changes["box"],
        mask_changes=changes.get("mask", {}),
        box_intervals=intervals["box"],
        mask_intervals=intervals.get("mask", {}),
        baseless=_baseless(reference_values, kinds, names),
    )


@dataclass(frozen=True)
class _Side:
    counted: int
    found: int
    excused: int
    labels: Index
    """Of the counted instances."""
    paired_labels: Index
    """Of those with a pair, however it overlaps."""


@dataclass(frozen=True)
class _Picture:
    reference: _Side
    candidate: _Side
    box_deltas: Array
    score_deltas: Array
    mask_ious: Array


def _compare_one(reference: Prediction, candidate: Prediction, slots: int | None) -> _Picture:
    pairs = paired(reference, candidate)
    rows, columns = pairs.rows, pairs.columns
    agrees = np.minimum(pairs.box_iou, pairs.mask_iou) >= MATCH_IOU
    shorter = min(len(reference), len(candidate))
    full = slots is not None and (reference.frames is not None or shorter >= slots)
    boxes = np.abs(reference.boxes[rows].astype(float) - candidate.boxes[columns]).ravel()
    return _Picture(
        reference=_side(reference, rows, agrees, full),
        candidate=_side(candidate, columns, agrees, full),
        box_deltas=boxes,
        score_deltas=np.abs(reference.scores[rows].astype(float) - candidate.scores[columns]),
        mask_ious=pairs.mask_iou,
    )


def _side(side: Prediction, places: Index, agrees: npt.NDArray[np.bool_], full: bool) -> _Side:
    scores, labels = side.scores, side.labels.astype(np.int64)
    counts = scores >= SCORE_FLOOR
    found = np.zeros(len(scores), bool)
    found[places[agrees]] = True
    tail = scores <= scores.min(initial=1.0) + TIE_MARGIN
    excused = counts & ~found & tail & full
    return _Side(
        counted=int((counts & ~excused).sum()),
        found=int((counts & found).sum()),
        excused=int(excused.sum()),
        labels=labels[counts],
        paired_labels=labels[places],
    )


def _lost_labels(pictures: Sequence[_Picture]) -> list[int]:
    """What one side finds often and the other never, whatever share of all instances that is."""
    lost: set[int] = set()
    for sides in ([p.reference for p in pictures], [p.candidate for p in pictures]):
        labels, counts = np.unique(
            _joined_labels(side.labels for side in sides), return_counts=True
        )
        often = labels[counts >= LOST_FROM]
        lost |= set(
            np.setdiff1d(often, _joined_labels(side.paired_labels for side in sides)).tolist()
        )
    return sorted(lost)


def _joined_labels(parts: Iterable[Index]) -> Index:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _invalid(side: Prediction) -> int:
    """Instances whose numbers cannot be; written so that NaN is among them."""
    possible = (side.scores >= 0.0) & (side.scores <= 1.0) & np.isfinite(side.boxes).all(axis=1)
    if side.frames is not None:
        possible &= np.isfinite(side.frames).all(axis=1)
    return int((~possible).sum())


def _baseless(
    reference: Values | None, kinds: Sequence[Kind], names: Sequence[str]
) -> tuple[str, ...]:
    if reference is None:
        return ()
    return tuple(f"{k} {name}" for k in kinds for name in names if reference[k][name] == 0.0)


def _by_kind(box: Mapping[str, T], mask: Mapping[str, T]) -> dict[str, T]:
    named = {f"box {name}": value for name, value in box.items()}
    return named | {f"mask {name}": value for name, value in mask.items()}


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0)


def _mean(values: Array, of_none: float) -> float:
    return float(values.mean()) if values.size else of_none


def _share(found: int, counted: int) -> float:
    return found / counted if counted else 1.0


def _changes(
    reference: Values | None, candidate: Values | None, kind: Kind, names: Sequence[str]
) -> dict[str, float | None]:
    """Changes in points; None where it was not measured or there is no ground truth."""
    if reference is None or candidate is None:
        return dict.fromkeys(names)
    return {
        name: None
        if reference[kind][name] == NO_TRUTH
        else candidate[kind][name] - reference[kind][name]
        for name in names
    }
