"""What a metric says of one candidate, and who says it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import onnx


@dataclass(frozen=True)
class Verdict:
    """What a metric says of one model."""

    passed: bool
    figures: dict[str, float]
    """By name, the one that the gate is on first; empty where nothing could be measured. `moved`,
    where there is one, says how far the results are from FP32's, 0 for the same; `sure` which share
    of resampled sets of pictures holds the gate."""
    reason: str = ""
    """Why nothing could be measured, or why it failed although the first figure holds the gate."""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By name of a figure, the ends of its 95 % interval, where there is one."""

    def __str__(self) -> str:
        """The gated figure, or why there is none."""
        if not self.figures:
            return self.reason
        name, value = next(iter(self.figures.items()))
        because = f" ({self.reason})" if self.reason else ""
        return f"{name} {value:.4f}{because}"

    @property
    def moved(self) -> float:
        """How far the results are from FP32's; infinite where there are none."""
        return self.figures.get("moved", math.inf)

    @property
    def sure(self) -> float:
        """Share of resampled sets that hold the gate; 1 where there are none."""
        return self.figures.get("sure", 1.0)


class Judge(Protocol):
    """Judges a candidate in the types that its file would have."""

    def __call__(self, model: onnx.ModelProto, *, few: bool) -> Verdict:
        """The verdict, on all inputs or on a `few`: those rank groups, no gate is held on them."""
