"""What a search vouches for: what was measured, on what, by what, and what it would gain.

Everything in it is a function of the model, the pictures and the options: no clock, no path of a
machine. So a search that was interrupted and goes on writes the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Figures = dict[str, float]
Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class MeasuredSet:
    """What one choice did on one set of pictures, against FP32 on the same."""

    data: str
    """Name of the folder, or of the file whose function judged."""
    split: str
    count: int
    sha256: str
    """Of the annotations of these pictures, or of that file."""
    passed: bool
    figures: Figures
    """Changes in points; the one that the gate is on first. Of a function: what it gave."""
    intervals: Intervals = field(default_factory=dict)
    """95 % interval of each change, over pictures of this kind: paired bootstrap."""
    unseen: Intervals = field(default_factory=dict)
    """Where another set of as many pictures is expected, 95 %: as wide as both sets' spread."""
    reason: str = ""
    """What failed beside the gated figure."""
    undecided: tuple[str, ...] = ()
    """Where an interval is wider than the gate, and how many pictures would decide it."""


@dataclass(frozen=True)
class Calibration:
    """What the ranges of INT8 and FP8 were taken from."""

    data: str
    pictures: int
    sha256: str
    """Of the pictures' bytes one after the other, or of the file whose function gave the inputs."""


@dataclass(frozen=True)
class Kept:
    """Why one group is not at the fastest precision that it could have."""

    precision: str
    wanted: str
    """The next faster one."""
    why: str
    """In words."""
    mac_share: float
    put_back: dict[str, Any] | None
    """Verdict with it there and the rest as it is; None where next to nothing would be gained."""
    alone: dict[str, Any]
    """Verdict with it there and every other group in FP32, on a few inputs."""


@dataclass(frozen=True)
class Candidate:
    """One choice that was measured on all pictures."""

    groups: dict[str, int]
    """How many groups compute in what."""
    ms: float | None
    """Predicted time of the whole; None where no times were asked for."""
    passed: bool
    figures: Figures
    intervals: Intervals


@dataclass(frozen=True)
class Certificate:
    """The figures behind a choice of precisions."""

    model: str
    """Recipe of the checkpoint, or the graph's name."""
    metric: str
    gate: float
    sure: float | None
    """Of resampled sets of pictures, the share that must hold the gate; None where none must."""
    precisions: tuple[str, ...]
    """That were allowed."""
    sets: tuple[MeasuredSet, ...]
    """The set that was searched on, then those that it was only verified on."""
    fastest: dict[str, Any]
    """Verdict with every group at the fastest precision it can have."""
    mac_shares: dict[str, float]
    """By precision, its part of the groups' multiply-accumulates."""
    kept: dict[str, Kept]
    """The groups above the fastest precision they could have; empty where none has to be."""
    evaluations: int
    """Candidates that ran on all pictures, each once."""
    few_evaluations: int
    """Candidates that ran on a few, each once: groups alone, to rank them."""
    tried: tuple[Candidate, ...]
    alone: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """By group and precision, verdicts of the group alone on a few pictures."""
    session: str | None = None
    """What ran candidates as their files stand; None: ONNX Runtime's CPU, every tensor rounded."""
    calibration: Calibration | None = None
    times: str = ""
    """Whence the milliseconds are: floors of a GPU's data sheet, or measured layer profiles."""
    total_ms: dict[str, float] = field(default_factory=dict)
    """Predicted time of the choice and of all groups in one precision."""
    group_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """By group and precision."""
    gpu: dict[str, Any] | None = None
    """The data sheet's row that floors were taken from."""
    versions: dict[str, str] = field(default_factory=dict)
