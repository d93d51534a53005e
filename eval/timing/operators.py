"""Latency of one operator in several implementations, beside what the memory alone would take.

Every implementation gets equal inputs and must give the first one's output before it is timed: one
that does not is a failure with its difference, and has no time. Warm-up and interleaving are those
of `turns`.

An operator must at least read its inputs once and write its output once. Those bytes over the
bandwidth that copying reaches on the same device are its **floor**; the share of it that an
implementation reaches says how much there is left to gain. A share above 1 means that a cache held
the inputs. Bandwidth is measured here, in the same run, and counts bytes read plus bytes written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..machine.gpu import gpu_state
from ..report.table import Table
from .bootstrap import Ratio, Summary, missing_note, speed_ratio, summarize
from .turns import BenchOptions, Tell, take_turns, warm_up

Array = npt.NDArray[Any]

OPTIONS = BenchOptions(samples=40, warmup_calls=20, warmup_seconds=5.0, stable_within=0.05)
"""Shorter than for models: a call has no pictures to go through."""
COPIED_BYTES = 256 << 20
"""Of the copy that measures bandwidth: many times any cache."""
COPIES = 10
SMALLEST_SIDE_PX = 16.0
LARGEST_SHARE = 0.9
_WARM_WINDOW = 5  # calls in the rolling median of the warm-up
_NOTE = (
    "ms: median, ± half its 95 % bootstrap interval. MB: inputs and output once; floor: those at "
    "the copy bandwidth measured here ({speeds}). max diff: from the first row."
)
_SPEEDUP_NOTE = (
    "speed-up: times faster than {baseline} on the same device, with its 95 % interval; in "
    "brackets where that includes 1."
)


@dataclass(frozen=True)
class Implementation:
    """One way to compute the operator, inputs already in place."""

    name: str
    device: str
    """"cpu" or "cuda": whose bandwidth is its floor."""
    precision: str
    """Of features and output."""
    least_bytes: int
    """Inputs read once plus output written once."""
    tolerance: float
    """Greatest absolute difference from the first implementation's output that is rounding."""
    time_ms: Callable[[], float]
    """Compute once (or several times) and answer the milliseconds of one call."""
    result: Callable[[], Array]
    """Compute and answer the output on the host."""
    baseline: bool = False
    """Whether the others of its device are compared with it."""


@dataclass(frozen=True)
class OperatorTiming:
    """One row: an implementation whose output was right. Samples are (T, n) ms, T turns."""

    DERIVED: ClassVar = ("floor_share",)

    name: str
    device: str
    precision: str
    max_difference: float
    """From the first implementation's output."""
    least_bytes: int
    floor_ms: float
    first_call_ms: float
    warmup_calls: int
    warmed_up: bool
    samples_ms: Array
    summary: Summary
    speedup: Ratio | None
    """Times faster than the baseline of its device; None for that itself, or without one."""

    @property
    def floor_share(self) -> float:
        """1 where the operator is as fast as copying its bytes."""
        return self.floor_ms / self.summary.p50_ms


@dataclass(frozen=True)
class OperatorCase:
    """All implementations of one operator on one set of inputs."""

    title: str
    rows: tuple[OperatorTiming, ...]
    failures: tuple[str, ...]
    """Implementations whose output is not the first one's, a sentence each."""
    gpu_state: dict[str, Any]
    """After the last call; {} without a GPU."""


def wall_clock(call: Callable[[], object]) -> Callable[[], float]:
    """`Implementation.time_ms` of a call that has finished when it returns."""

    def time_ms() -> float:
        began = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - began) / 1e6

    return time_ms


def cpu_bandwidth(copied_bytes: int = COPIED_BYTES, copies: int = COPIES) -> float:
    """Bytes per second, read plus written, of the quickest of `copies` copies by all cores."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    source = np.ones(copied_bytes // 8)
    target = np.zeros_like(source)
    parts = list(
        zip(np.array_split(target, threads or 1), np.array_split(source, threads or 1), strict=True)
    )
    with ThreadPoolExecutor(threads) as pool:
        copy = wall_clock(lambda: list(pool.map(lambda pair: np.copyto(*pair), parts)))
        quickest_ms = min(copy() for _ in range(copies))
    return 2 * source.nbytes / (quickest_ms / 1e3)


def proposal_boxes(count: int, canvas_hw: tuple[int, int], seed: int = 0) -> npt.NDArray[Any]:
    """Boxes as an RPN gives them: (1, count, 4) float32 xyxy canvas px, all inside.

    Sides are log-uniform from 16 px to 90 % of the canvas, each side on its own.
    """
    rng = np.random.default_rng(seed)
    limit = np.array(canvas_hw[::-1], dtype=np.float64)
    smallest = np.log(SMALLEST_SIDE_PX)
    sides = np.exp(rng.uniform(smallest, np.log(LARGEST_SHARE * limit), (1, count, 2)))
    corners = rng.uniform(0.0, 1.0, (1, count, 2)) * (limit - sides)
    return np.concatenate((corners, corners + sides), axis=2).astype(np.float32)


def bench_operator(
    title: str,
    implementations: Sequence[Implementation],
    bandwidths: Mapping[str, float],
    options: BenchOptions = OPTIONS,
    *,
    on_progress: Tell | None = None,
) -> OperatorCase:
    """Check every implementation against the first, then time all that agree, interleaved.

    Args:
        title: operator and shapes.
        implementations: at least one, the first being what is right.
        bandwidths: measured bytes per second of every device in use.
        options: how long.
        on_progress: told the fraction done in [0, 1] and what is being done.
    """
    tell = on_progress or (lambda _fraction, _text: None)
    differences = _differences(implementations, tell)
    right = [one for one in implementations if differences[one.name] <= one.tolerance]
    clocks = []
    for one in right:
        tell(0.0, f"warming up {one.name}")
        clocks.append(_Clocked(one, options))
    if clocks:
        turns = [(clocked.implementation.name, clocked.turn) for clocked in clocks]
        call_ms = float(np.mean([clocked.warm_up.call_ms for clocked in clocks]))
        take_turns(turns, options.turn_calls(call_ms), options, tell)
    return OperatorCase(
        title=title,
        rows=tuple(
            _timing(clocked, clocks, differences, bandwidths, options) for clocked in clocks
        ),
        failures=tuple(
            f"{one.name}: differs from {implementations[0].name} by {differences[one.name]:.3g};"
            f" expected at most {one.tolerance:.3g}. It is not timed."
            for one in implementations
            if one not in right
        ),
        gpu_state=gpu_state(),
    )


def _differences(implementations: Sequence[Implementation], tell: Tell) -> dict[str, float]:
    """Greatest absolute difference of each output from the first; infinite for another shape."""
    first = implementations[0].result()
    found = {}
    for one in implementations:
        tell(0.0, f"checking {one.name}")
        output = first if one is implementations[0] else one.result()
        same = output.shape == first.shape and bool(np.isfinite(output).all())
        found[one.name] = float(np.abs(output - first, dtype=np.float32).max()) if same else np.inf
    return found


class _Clocked:
    """One implementation with its samples; warms up when made."""

    def __init__(self, implementation: Implementation, options: BenchOptions) -> None:
        self.implementation = implementation
        self.samples_ms: list[list[float]] = []
        self.warm_up = warm_up(implementation.time_ms, options, _WARM_WINDOW)

    def turn(self, calls: int) -> float:
        """One unrecorded call, then `calls` recorded ones, in ms."""
        self.implementation.time_ms()
        samples_ms = [self.implementation.time_ms() for _ in range(calls)]
        self.samples_ms.append(samples_ms)
        return sum(samples_ms)


def _timing(
    clocked: _Clocked,
    clocks: Sequence[_Clocked],
    differences: Mapping[str, float],
    bandwidths: Mapping[str, float],
    options: BenchOptions,
) -> OperatorTiming:
    one, samples = clocked.implementation, np.array(clocked.samples_ms)
    baselines = [
        np.array(other.samples_ms)
        for other in clocks
        if other.implementation.baseline and other.implementation.device == one.device
    ]
    compared = bool(baselines) and not one.baseline
    return OperatorTiming(
        name=one.name,
        device=one.device,
        precision=one.precision,
        max_difference=differences[one.name],
        least_bytes=one.least_bytes,
        floor_ms=one.least_bytes / bandwidths[one.device] * 1e3,
        first_call_ms=clocked.warm_up.first_call_ms,
        warmup_calls=clocked.warm_up.calls,
        warmed_up=clocked.warm_up.stable,
        samples_ms=samples,
        summary=summarize(samples, options.seed),
        speedup=speed_ratio(baselines[0], samples, options.seed) if compared else None,
    )


def operator_table(case: OperatorCase, bandwidths: Mapping[str, float], baseline: str) -> Table:
    """The rows as text; `baseline` is what the last column compares with."""
    restless = [row.name for row in case.rows if not row.warmed_up]
    speeds = ", ".join(f"{name} {speed / 1e9:.1f} GB/s" for name, speed in bandwidths.items())
    notes = [_NOTE.format(speeds=speeds)]
    if any(row.speedup for row in case.rows):
        notes.append(_SPEEDUP_NOTE.format(baseline=baseline))
    if restless:
        notes.append(f"Not yet steady when the warm-up ended: {'; '.join(restless)}.")
    if case.rows:
        notes += missing_note(case.rows[0].summary.turns_missing)
    return Table(
        title=case.title,
        columns=("implementation", "ms", "MB", "floor ms", "of floor", "max diff", "speed-up"),
        rows=tuple(_cells(row) for row in case.rows),
        notes=(*notes, *(f"FAILED {sentence}" for sentence in case.failures)),
        keys=1,
    )


def _cells(row: OperatorTiming) -> tuple[str, ...]:
    return (
        row.name,
        row.summary.p50_text(3),
        f"{row.least_bytes / 1e6:.1f}",
        f"{row.floor_ms:.3f}",
        f"{row.floor_share:.0%}",
        f"{row.max_difference:.1e}",
        str(row.speedup or "-"),
    )
