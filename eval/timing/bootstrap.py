"""Summaries of latency samples: percentiles, spread, and bootstrap intervals that respect drift.

Neighbouring samples of one turn share the machine's mood (clocks, caches, other processes), so
turns are resampled, not single samples; and because every backend saw the same pictures in the
same turns, a ratio resamples the same turns on both sides. Percentile bootstrap, Efron &
Tibshirani 1993, ch. 13. Of few turns it says too much: there is no interval below `MIN_TURNS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)
MIN_TURNS = 10
"""Two equal models come out "certainly" apart in half of all runs of 2 turns, in one of seven at 4
and in one of twenty at 10, which is what 95 % promises."""
_PARTS = 20


@dataclass(frozen=True)
class Summary:
    """Statistics of one scope of one backend; all samples are in it, none was removed."""

    samples: int
    p50_ms: float
    p50_low_ms: float | None
    """Lower end of the bootstrap 95 % interval of the median; None where turns are missing."""
    p50_high_ms: float | None
    p90_ms: float
    p99_ms: float
    mean_ms: float
    cov: float
    """Coefficient of variation: standard deviation over mean."""
    turns_missing: int
    """For an interval; 0 where there is one."""

    def p50_text(self, decimals: int = 2) -> str:
        """The median as a table shows it, ± half its interval where there is one."""
        return _with_half(self.p50_ms, self.p50_low_ms, self.p50_high_ms, decimals)


@dataclass(frozen=True)
class Ratio:
    """One value over another with its 95 % interval, e.g. how many times faster a backend is."""

    value: float
    low: float | None
    """None, as is `high`, where turns are missing."""
    high: float | None
    turns_missing: int

    @property
    def certain(self) -> bool:
        """Whether an interval leaves out 1, i.e. one of the two really is faster."""
        if self.low is None or self.high is None:
            return False
        return self.low > 1.0 or self.high < 1.0

    def text(self, decimals: int = 2) -> str:
        """The value and its interval where there is one."""
        ends = [] if self.low is None else [f"{self.low:.{decimals}f}-{self.high:.{decimals}f}"]
        return " ".join([f"{self.value:.{decimals}f}x", *ends])

    def __str__(self) -> str:
        """As a table shows it, in brackets where it is not certain."""
        return self.text() if self.certain else f"({self.text()})"


@dataclass(frozen=True)
class Rate:
    """Something per second with its 95 % interval."""

    value: float
    low: float | None
    """None, as is `high`, where turns are missing."""
    high: float | None
    turns_missing: int

    def __str__(self) -> str:
        """As a table shows it, ± half its interval where there is one."""
        return _with_half(self.value, self.low, self.high, 2)


def turns_missing(turns: int) -> int:
    """How many more turns an interval needs; 0 when there are enough."""
    return max(0, MIN_TURNS - turns)


def missing_note(missing: int) -> list[str]:
    """What a table says where turns are missing; nothing where none are."""
    sentence = (
        f"No intervals and no verdict: {missing} of the {MIN_TURNS} turns that they need are "
        "missing. Ask for more --samples or --seconds."
    )
    return [sentence] if missing else []


def summarize(samples_ms: Array, seed: int = 0) -> Summary:
    """Summary of (T, n) samples, T turns of n samples each, in milliseconds."""
    flat, turns = samples_ms.ravel(), len(samples_ms)
    low, high = _interval(turns, lambda: _medians(samples_ms, _draws(turns, seed)))
    p50, p90, p99 = np.percentile(flat, (50, 90, 99))
    mean = float(flat.mean())
    return Summary(
        samples=flat.size,
        p50_ms=float(p50),
        p50_low_ms=low,
        p50_high_ms=high,
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_ms=mean,
        cov=float(flat.std()) / mean if mean else 0.0,
        turns_missing=turns_missing(turns),
    )


def speed_ratio(first_ms: Array, this_ms: Array, seed: int = 0) -> Ratio:
    """Ratio of medians, first over this, of two (T, n) sample arrays of the same turns."""

    def resampled() -> Array:
        draws = _draws(len(first_ms), seed)
        return _medians(first_ms, draws) / _medians(this_ms, draws)

    return _ratio(np.median(first_ms) / np.median(this_ms), len(first_ms), resampled)


def change_ratio(earlier_ms: Array, this_ms: Array, seed: int = 0) -> Ratio:
    """Ratio of medians, this over earlier, of samples of two runs; above 1 is slower.

    The runs, (T, n) and (U, m), share no turns, so those of each are drawn on their own.
    """

    def resampled() -> Array:
        earlier = _medians(earlier_ms, _draws(len(earlier_ms), seed))
        return _medians(this_ms, _draws(len(this_ms), seed + 1)) / earlier

    fewest = min(len(earlier_ms), len(this_ms))
    return _ratio(np.median(this_ms) / np.median(earlier_ms), fewest, resampled)


def rate_ratio(first_s: Array, this_s: Array, seed: int = 0) -> Ratio:
    """How many times more work a second than the first: (T,) seconds of equal work, same turns."""

    def resampled() -> Array:
        draws = _draws(len(first_s), seed)
        return np.asarray(first_s[draws].sum(axis=1) / this_s[draws].sum(axis=1))

    return _ratio(first_s.sum() / this_s.sum(), len(first_s), resampled)


def work_rate(work_per_turn: int, turns_s: Array, seed: int = 0) -> Rate:
    """Work per second of (T,) turns' seconds."""
    turns = len(turns_s)
    work = work_per_turn * turns
    low, high = _interval(turns, lambda: work / turns_s[_draws(turns, seed)].sum(axis=1))
    return Rate(float(work / turns_s.sum()), low, high, turns_missing(turns))


def _ratio(value: float, turns: int, resampled: Callable[[], Array]) -> Ratio:
    low, high = _interval(turns, resampled)
    return Ratio(float(value), low, high, turns_missing(turns))


def _interval(
    turns: int, resampled: Callable[[], Array]
) -> tuple[float, float] | tuple[None, None]:
    """Both ends, of the resampled values; none where turns are missing."""
    if turns_missing(turns):
        return None, None
    low, high = np.percentile(resampled(), INTERVAL)
    return float(low), float(high)


def _draws(turns: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(turns, size=(RESAMPLES, turns))


def _medians(samples_ms: Array, draws: npt.NDArray[np.int64]) -> Array:
    """(R,) median of each of R draws of turns; a part at a time, all at once would fill memory."""
    parts = (samples_ms[part].reshape(len(part), -1) for part in np.array_split(draws, _PARTS))
    return np.concatenate([np.median(part, axis=1) for part in parts])


def _with_half(value: float, low: float | None, high: float | None, decimals: int) -> str:
    if low is None or high is None:
        return f"{value:.{decimals}f}"
    return f"{value:.{decimals}f} ± {(high - low) / 2:.{decimals}f}"
