"""One hop of the accuracy chain: two artefacts' predictions compared instance by instance.

A hop is checkpoint -> ONNX FP32, ONNX FP32 -> ONNX FP16, or ONNX -> engine. AP or AR alone hides a
shift that all thresholds forgive and says nothing without ground truth, so instances are compared
too.

**Gates** are on the change of AP of instances, or of each of AR@10, AR@100 and AR@1000 of
proposals, of boxes and of masks; and in FP32 on the matched share.

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
in `excused`. Only the tail of a full list can be excused, so a broken artefact cannot hide behind
this. Lists of proposals count as full: the best of thousands of windows, of which those without a
pixel in the picture were left out afterwards.

Nothing else is forgiven: two candidates of one object whose order flips in NMS count as
unmatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...runtime.contract import Precision
from ...runtime.errors import InputError
from ..coco.accuracy import GATED, KINDS, NO_TRUTH, Kind, Metric, Values
from ..coco.predictions import Prediction
from .pairing import Index, paired

Array = npt.NDArray[np.float64]

MATCH_IOU = 0.95
SCORE_FLOOR = 0.1
TIE_MARGIN = 0.005  # FP16 scores near 0.1 to 1 are 0.0001 to 0.001 apart; several roundings

CHANGE_GATE = {"fp32": 0.1, "fp16": 0.3, "int8": 0.3}
"""Greatest |AP change| or |AR change| in points, each; MLPerf's 99 % rule is far looser."""
MATCHED_GATE = {"fp32": 0.995, "fp16": 0.0, "int8": 0.0}
"""Least matched share. FP16 and INT8 move masks by pixels, so there only AP decides."""


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
    metric: Metric
    """What the changes below are of: AP of instances or AR of proposals."""
    box_changes: dict[str, float | None]
    """By name, `GATED[metric]`: the candidate's value minus the reference's, in points; None where
    it was not measured or there is no ground truth."""
    mask_changes: dict[str, float | None]

    @property
    def matched(self) -> float:
        """The smaller of the two directions' shares, in [0, 1]; 1 when nothing counts."""
        return min(
            _share(self.reference_found, self.reference_counted),
            _share(self.candidate_found, self.candidate_counted),
        )


@dataclass(frozen=True)
class Hop:
    """A named parity with its verdict, one line of the hop table."""

    DERIVED: ClassVar = ("passed",)

    reference: str
    candidate: str
    precision: Precision
    """The candidate's precision: which gate applies."""
    parity: Parity
    failures: tuple[str, ...]
    """Sentences of `check_gates`; empty when the hop passed."""

    @property
    def passed(self) -> bool:
        """Whether all gates hold."""
        return not self.failures


def compare(
    reference: Sequence[Prediction],
    candidate: Sequence[Prediction],
    *,
    slots: int | None = None,
    metric: Metric = "AP",
    reference_values: Values | None = None,
    candidate_values: Values | None = None,
) -> Parity:
    """Compare two artefacts' predictions picture by picture.

    Args:
        reference: predictions of the artefact believed right.
        candidate: predictions of the other, same pictures in the same order.
        slots: detections per picture that both graphs can hold (D); None when there is no limit.
        metric: AP of instances or AR of proposals.
        reference_values: `coco_ap` or `CocoRecall.average` of the reference, where there is ground
            truth.
        candidate_values: the same of the candidate.

    Raises:
        InputError: the two were not made on the same pictures.
    """
    if [p.image_id for p in reference] != [p.image_id for p in candidate]:
        raise InputError(
            f"parity: {len(reference)} and {len(candidate)} predictions are not of the same "
            "pictures in the same order; expected one each per picture. Predict the same data."
        )
    pictures = [_compare_one(r, c, slots) for r, c in zip(reference, candidate, strict=True)]
    box_deltas = _joined([picture.box_deltas for picture in pictures])
    changes = {k: _changes(reference_values, candidate_values, k, GATED[metric]) for k in KINDS}
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
        metric=metric,
        box_changes=changes["box"],
        mask_changes=changes["mask"],
    )


def check_gates(parity: Parity, precision: Precision) -> list[str]:
    """The gates a hop fails, as sentences; empty when it passes.

    FP32: AP, or AR@10, AR@100 and AR@1000, of box and mask change at most 0.1 points each, and at
    least 99.5 % matched at IoU 0.95. FP16 and INT8: each at most 0.3 points. What was not
    measured has not passed.
    """
    changes = {f"box {name}": change for name, change in parity.box_changes.items()}
    changes |= {f"mask {name}": change for name, change in parity.mask_changes.items()}
    failures = []
    for name, change in changes.items():
        allowed = CHANGE_GATE[precision]
        if change is None:
            failures.append(f"{name} was not measured on both; {precision} needs the change.")
        elif not abs(change) <= allowed:  # written so that NaN fails
            failures.append(
                f"{name} changed by {change:+.2f} points; {precision} allows {allowed}."
            )
    needed = MATCHED_GATE[precision]
    if not parity.matched >= needed:
        failures.append(
            f"{100 * parity.matched:.2f} % of instances matched at IoU {MATCH_IOU}; "
            f"{precision} needs {100 * needed} %."
        )
    if parity.reference_counted + parity.candidate_counted + parity.excused == 0:
        failures.append(
            f"no instance scored {SCORE_FLOOR} or more on either side, so nothing was compared."
        )
    return failures


def make_hop(reference: str, candidate: str, precision: Precision, parity: Parity) -> Hop:
    """A hop with its gates checked."""
    return Hop(reference, candidate, precision, parity, tuple(check_gates(parity, precision)))


@dataclass(frozen=True)
class _Side:
    counted: int
    found: int
    excused: int


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
        reference=_side(reference.scores, rows[agrees], full),
        candidate=_side(candidate.scores, columns[agrees], full),
        box_deltas=boxes,
        score_deltas=np.abs(reference.scores[rows].astype(float) - candidate.scores[columns]),
        mask_ious=pairs.mask_iou,
    )


def _side(scores: npt.NDArray[np.float32], matched: Index, full: bool) -> _Side:
    counts = scores >= SCORE_FLOOR
    found = np.zeros(len(scores), bool)
    found[matched] = True
    tail = scores <= scores.min(initial=1.0) + TIE_MARGIN
    excused = counts & ~found & tail & full
    return _Side(int((counts & ~excused).sum()), int((counts & found).sum()), int(excused.sum()))


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
