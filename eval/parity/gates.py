"""Whether what one hop of the accuracy chain changed is small enough.

A hop is checkpoint -> ONNX FP32, ONNX FP32 -> ONNX FP16, or ONNX -> engine. Its precision, hence
its gate, is that of the candidate's graph, not what the file says of itself.

**Gates** are on the change of AP of instances, or of each of AR@10, AR@100 and AR@1000 of
proposals, of boxes and of masks; on the matched share; on how much of it was excused; and on
classes that one side finds and the other does not. Nothing passes on nothing: what was not
measured, a reference that found nothing right, or that has nothing to count, fails.

An interval decides no gate. It says how sure the change is: where it is wider than the gate, other
pictures could have decided otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...runtime.contract import Precision
from .comparison import LOST_FROM, MATCH_IOU, SCORE_FLOOR, Parity
from .intervals import Interval

CHANGE_GATE = {"fp32": 0.1, "fp16": 0.3, "int8": 0.3, "fp8": 0.3}
"""Greatest |AP change| or |AR change| in points, each; MLPerf's 99 % rule is far looser."""
MATCHED_GATE = {"fp32": 0.995, "fp16": 0.6, "int8": 0.6, "fp8": 0.6}
"""Least matched share. FP16, INT8 and FP8 move masks by pixels, so there AP decides and this only
keeps out what found other instances. Of good hops `eval/records` have 0.988 and more for FP16,
0.718 and more where a CPU computes FP16 files in BF16 (openvino_parity), 0.73 for INT8
(quantized_tiny); halves of the classes swapped leave about 0.5."""
EXCUSED_GATE = 0.05
"""Greatest share of counted instances that a tie for the last slot excuses; the records of good
hops have 0.014 at most (INT8 FastMask, whose lists are always full)."""


@dataclass(frozen=True)
class Hop:
    """A named parity with its verdict, one line of the hop table."""

    DERIVED: ClassVar = ("passed",)

    reference: str
    candidate: str
    precision: Precision
    """What the candidate's graph computes in: which gate applies."""
    parity: Parity
    failures: tuple[str, ...]
    """Sentences of `check_gates`; empty when the hop passed."""
    undecided: tuple[str, ...]
    """Sentences of `undecided_changes`: where more pictures would be needed to be sure."""

    @property
    def passed(self) -> bool:
        """Whether all gates hold."""
        return not self.failures


def check_gates(parity: Parity, precision: Precision, allowed: float | None = None) -> list[str]:
    """The gates a hop fails, as sentences; empty when it passes.

    `allowed` points of change take the place of the precision's own.

    FP32: AP, or AR@10, AR@100 and AR@1000, of box and mask change at most 0.1 points each, and at
    least 99.5 % matched at IoU 0.95. All others: each at most 0.3 points, and 60 % matched. All:
    at most 5 % excused, no class lost, no impossible number. What was not measured has not passed.
    """
    return [
        *_changed(parity, precision, CHANGE_GATE[precision] if allowed is None else allowed),
        *_unmatched(parity, precision),
        *_unsound(parity),
    ]


def undecided_changes(parity: Parity, precision: Precision) -> list[str]:
    """Where a change's interval is wider than its gate, and about how many pictures would do."""
    return undecided(parity.intervals, parity.images, CHANGE_GATE[precision], precision)


def undecided(
    intervals: Mapping[str, Interval | None], pictures: int, allowed: float, gate: str
) -> list[str]:
    """The same of intervals by name, under a gate of any name.

    Half an interval shrinks with the square root of the number of pictures.
    """
    sentences = []
    for name, interval in intervals.items():
        half = 0.0 if interval is None else (interval[1] - interval[0]) / 2
        if half > allowed:
            needed = _rounded_up(pictures * (half / max(allowed, 0.01)) ** 2)
            sentences.append(
                f"{name} is known to ±{half:.2f} points on {pictures} pictures, and "
                f"{gate} allows {allowed:g}: about {needed:,} would decide it."
            )
    return sentences


def make_hop(reference: str, candidate: str, precision: Precision, parity: Parity) -> Hop:
    """A hop with its gates checked."""
    failures, undecided = check_gates(parity, precision), undecided_changes(parity, precision)
    return Hop(reference, candidate, precision, parity, tuple(failures), tuple(undecided))


def _changed(parity: Parity, precision: Precision, allowed: float) -> list[str]:
    failures = []
    for name, change in parity.changes.items():
        if change is None:
            failures.append(f"{name} was not measured on both; {precision} needs the change.")
        elif not abs(change) <= allowed:  # written so that NaN fails
            failures.append(
                f"{name} changed by {change:+.2f} points; {precision} allows {allowed}."
            )
    if parity.baseless:
        failures.append(
            f"{', '.join(parity.baseless)} of the reference is 0, so a change of it says nothing; "
            "compare with a model that finds something."
        )
    return failures


def _unmatched(parity: Parity, precision: Precision) -> list[str]:
    failures, needed = [], MATCHED_GATE[precision]
    if not parity.matched >= needed:
        failures.append(
            f"{100 * parity.matched:.2f} % of instances matched at IoU {MATCH_IOU}; "
            f"{precision} needs {100 * needed:g} %."
        )
    if parity.reference_counted + parity.candidate_counted + parity.excused == 0:
        failures.append(
            f"no instance scored {SCORE_FLOOR} or more on either side, so nothing was compared."
        )
    elif parity.reference_counted == 0:
        failures.append(
            f"no instance of the reference counts (scores {SCORE_FLOOR} or more and is no tie for "
            "the last slot), so nothing was compared."
        )
    if not parity.excused_share <= EXCUSED_GATE:
        failures.append(
            f"{100 * parity.excused_share:.1f} % of instances were excused as ties for the last "
            f"slot; at most {100 * EXCUSED_GATE:g} % may be."
        )
    return failures


def _unsound(parity: Parity) -> list[str]:
    failures = []
    if parity.lost_classes:
        failures.append(
            f"one side has {LOST_FROM} or more instances of {', '.join(parity.lost_classes)} and "
            "the other none where they are."
        )
    if parity.invalid:
        failures.append(
            f"{parity.invalid} instances have a score outside 0 to 1 or a number that is not "
            "finite."
        )
    return failures


def _rounded_up(count: float) -> int:
    """To two figures, as an estimate is."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step) * step
