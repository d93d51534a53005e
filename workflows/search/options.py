"""What a search is asked for, checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.errors import InputError

if TYPE_CHECKING:
    from ...eval import CocoData
    from ...export.precision.mixture import GroupPrecision
    from ...export.roofline.gpus import Gpu
    from .timing import Profile

Say = Callable[[str], None]

LEAST_MATCHED = 0.98
"""Default gate of `instances`. Sound FP16 of the shipped networks matches all."""


@dataclass(frozen=True)
class Calibrating:
    """Where INT8 and FP8 take their ranges from."""

    folder: Path | None = None
    """Labelled folder whose train pictures are taken; None takes that of the data itself."""
    images: int = 64
    """Only the first so many."""


@dataclass(frozen=True)
class Asked:
    """What a search was asked for, checked."""

    folder: Path
    """Temporary: graphs are written there."""
    metric: str
    gate: float
    levels: tuple[GroupPrecision, ...]
    gpu: Gpu | None
    profiles: tuple[Profile, ...]
    calibrating: Calibrating
    verify: tuple[CocoData, ...]
    session: str | None
    """What runs candidates as their files stand; None: ONNX Runtime's CPU, rounding as they say."""
    say: Say


def is_function(metric: str) -> bool:
    """Whether a metric is FILE.py:FUNCTION, not one of ours."""
    return metric not in ("ap", "instances")


def ordered_levels(precisions: Sequence[str]) -> tuple[GroupPrecision, ...]:
    """The precisions that may be chosen, in the order of the search.

    Raises:
        InputError: one is unknown, there are fewer than two, or none of FP32 and FP16.
    """
    from ...export.search.search import SLOWEST_FIRST

    levels = tuple(level for level in SLOWEST_FIRST if level in precisions)
    unknown = set(precisions) - set(SLOWEST_FIRST)
    if unknown or len(levels) < 2 or levels[0] not in ("fp32", "fp16"):
        raise InputError(
            f"--precisions {','.join(precisions)}: expected two or more of "
            f"{', '.join(SLOWEST_FIRST)}, one of the first two among them. Correct it."
        )
    return levels


def checked_gate(metric: str, gate: float | None) -> float:
    """The gate, or the default of a metric of ours.

    Raises:
        InputError: it is out of range, or a function has none.
    """
    from ...eval.parity.gates import CHANGE_GATE

    if is_function(metric):
        if gate is None or not 0 <= gate < float("inf"):
            raise InputError(
                f"--gate {gate}: expected the greatest loss of {metric}, 0 or more, in its own "
                "unit. Name it."
            )
        return gate
    if gate is None:
        return LEAST_MATCHED if metric == "instances" else CHANGE_GATE["fp16"]
    if metric == "instances" and not 0 < gate <= 1:
        raise InputError(f"--gate {gate}: expected a matched share above 0 and up to 1.")
    if not 0 <= gate <= 100:
        raise InputError(f"--gate {gate}: expected a change in points, 0 to 100.")
    return gate
