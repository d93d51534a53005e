"""How long to measure, when a call is warm, and whose turn it is: the same for every bench.

    rounds of A B B A      each in its turn: one unrecorded call, then some recorded ones

Interleaving lets slow drift (clocks, temperature, other processes) fall on all alike; the
unrecorded call at each turn's start removes what the one before left in caches and in thread pools
that still spin. Intervals resample turns (`bootstrap`), so there are `TURNS` of them at least,
however few calls were asked for. Warm-up ends when the rolling median is stable, or at a bound. No
sample is removed afterwards and all are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...runtime.errors import InputError

Tell = Callable[[float, str], None]
"""Told the fraction done in [0, 1] and what is being done."""
Turn = Callable[[int], float]
"""One unrecorded call, then so many recorded ones; gives the milliseconds of these."""

TURNS = 20
"""Of each backend: twice what an interval needs. More cost one unrecorded call each."""


@dataclass(frozen=True)
class BenchOptions:
    """How long to measure. `quick_options` is the demo's choice."""

    samples: int = 200
    """Recorded calls per backend; used where `seconds` is None. Below 10 there is no interval."""
    seconds: float | None = None
    """Recorded time instead of a number of samples: this much per backend on average. All get
    equally many calls, or their turns could not be compared; a slow one takes more of it."""
    warmup_calls: int = 100
    """Bounds of the warm-up: it ends at whichever is reached first, stable or not."""
    warmup_seconds: float = 20.0
    stable_within: float = 0.02
    """Warm when two neighbouring windows' medians differ by less than this fraction."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self) -> None:
        seconds = 1.0 if self.seconds is None else self.seconds
        if self.samples < 1 or not 0 < seconds < math.inf:
            raise InputError(
                f"bench: samples={self.samples}, seconds={self.seconds} found; expected at least "
                "one sample, or a time above 0 that ends. Ask for that."
            )

    def turn_calls(self, call_ms: float) -> int:
        """Recorded calls before the next backend's turn: in whole turns, `TURNS` or more.

        Of a number of samples its greatest divisor that leaves so many, so that exactly so many
        are taken; of a time what fits when a call takes `call_ms`.
        """
        if self.seconds is not None:
            return max(1, int(1000.0 * self.seconds / TURNS / call_ms))
        most = max(1, self.samples // TURNS)
        return next(calls for calls in range(most, 0, -1) if self.samples % calls == 0)


def quick_options() -> BenchOptions:
    """Short run for a demonstration: enough for a first look, with honestly wider intervals."""
    return BenchOptions(samples=20, warmup_calls=30, warmup_seconds=3.0, stable_within=0.05)


@dataclass(frozen=True)
class WarmUp:
    """What came before the recorded calls."""

    first_call_ms: float
    """With all that happens once: kernels chosen, memory taken."""
    calls: int
    """The first one included."""
    stable: bool
    """Whether the rolling median became stable before the bound."""
    call_ms: float
    """Median of the last window: about what a call will take."""


def warm_up(call_ms: Callable[[], float], options: BenchOptions, window: int) -> WarmUp:
    """Call until the medians of the last two windows of `window` calls agree, or to a bound.

    The first call counts as a call, its time not towards `warmup_seconds`: it may compile.
    """
    times = [call_ms()]
    began = time.perf_counter()
    while not (stable := _stable(times, window, options.stable_within)):
        spent = time.perf_counter() - began
        if len(times) >= options.warmup_calls or spent >= options.warmup_seconds:
            break
        times.append(call_ms())
    return WarmUp(times[0], len(times), stable, float(np.median(times[-window:])))


def _stable(times: list[float], window: int, within: float) -> bool:
    older, newer = times[-2 * window : -window], times[-window:]
    if len(older) < window:
        return False
    return abs(float(np.median(newer)) / float(np.median(older)) - 1.0) < within


def take_turns(
    turns: Sequence[tuple[str, Turn]],
    calls: int,
    options: BenchOptions,
    tell: Tell,
    after_round: Callable[[], None] = lambda: None,
) -> None:
    """A B B A until there is enough; all take equally many turns, hence comparable.

    Args:
        turns: what the reader calls it, and its turn; at least one.
        calls: recorded calls of each turn.
        options: how long.
        tell: told before every turn.
        after_round: called after every A B B A, and after an A B that was the last.
    """
    taken, recorded_ms, ways = 0, 0.0, (turns, tuple(reversed(turns)))
    while (fraction := _done(taken * calls, recorded_ms / len(turns), options)) < 1.0:
        for name, turn in ways[taken % 2]:
            tell(fraction, f"timing {name}")
            recorded_ms += turn(calls)
        taken += 1
        if taken % 2 == 0:
            after_round()
    if taken % 2:
        after_round()
    tell(1.0, "done")


def _done(calls: int, recorded_ms: float, options: BenchOptions) -> float:
    """The fraction done, after so many calls and milliseconds of each."""
    if options.seconds is not None:
        return recorded_ms / 1000.0 / options.seconds
    return calls / options.samples
