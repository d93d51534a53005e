"""Summaries of latency samples: percentiles, spread, and bootstrap intervals that respect drift.

Neighbouring samples of one turn share the machine's mood (clocks, caches, other processes), so
turns are resampled, not single samples; and because every backend saw the same pictures in the
same turns, a ratio resamples the same turns on both sides. Percentile bootstrap, Efron &
Tibshirani 1993, ch. 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)
_PARTS = 20


@dataclass(frozen=True)
class Summary:
    """Statistics of one scope of one backend; all samples are in it, none was removed."""

    samples: int
    p50_ms: float
    p50_low_ms: float
    """Lower end of the bootstrap 95 % interval of the median."""
    p50_high_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    cov: float
    """Coefficient of variation: standard deviation over mean."""


@dataclass(frozen=True)
class Ratio:
    """One value over another with its 95 % interval, e.g. how many times faster a backend is."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 1, i.e. one of the two really is faster."""
        return self.low > 1.0 or self.high < 1.0

    def __str__(self) -> str:
        """As a table shows it, in brackets where the interval includes 1."""
        text = f"{self.value:.2f}x {self.low:.2f}-{self.high:.2f}"
        return text if self.certain else f"({text})"


@dataclass(frozen=True)
class Rate:
    """Something per second with its 95 % interval."""

    value: float
    low: float
    high: float


def summarize(samples_ms: Array, seed: int = 0) -> Summary:
    """Summary of (T, n) samples, T turns of n samples each, in milliseconds."""
    flat = samples_ms.ravel()
    low, high = np.percentile(_medians(samples_ms, _draws(samples_ms, seed)), INTERVAL)
    p50, p90, p99 = np.percentile(flat, (50, 90, 99))
    mean = float(flat.mean())
    return Summary(
        samples=flat.size,
        p50_ms=float(p50),
        p50_low_ms=float(low),
        p50_high_ms=float(high),
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_ms=mean,
        cov=float(flat.std()) / mean if mean else 0.0,
    )


def speed_ratio(first_ms: Array, this_ms: Array, seed: int = 0) -> Ratio:
    """Ratio of medians, first over this, of two (T, n) sample arrays of the same turns."""
    draws = _draws(first_ms, seed)
    ratios = _medians(first_ms, draws) / _medians(this_ms, draws)
    low, high = np.percentile(ratios, INTERVAL)
    return Ratio(float(np.median(first_ms) / np.median(this_ms)), float(low), float(high))


def change_ratio(earlier_ms: Array, this_ms: Array, seed: int = 0) -> Ratio:
    """Ratio of medians, this over earlier, of samples of two runs; above 1 is slower.

    The runs, (T, n) and (U, m), share no turns, so those of each are drawn on their own.
    """
    earlier = _medians(earlier_ms, _draws(earlier_ms, seed))
    this = _medians(this_ms, _draws(this_ms, seed + 1))
    low, high = np.percentile(this / earlier, INTERVAL)
    return Ratio(float(np.median(this_ms) / np.median(earlier_ms)), float(low), float(high))


def rate_ratio(first_s: Array, this_s: Array, seed: int = 0) -> Ratio:
    """How many times more work a second than the first: (T,) seconds of equal work, same turns."""
    draws = _draws(first_s, seed)
    low, high = np.percentile(first_s[draws].sum(axis=1) / this_s[draws].sum(axis=1), INTERVAL)
    return Ratio(float(first_s.sum() / this_s.sum()), float(low), float(high))


def work_rate(work_per_turn: int, turns_s: Array, seed: int = 0) -> Rate:
    """Work per second of (T,) turns' seconds."""
    turns = len(turns_s)
    rates = work_per_turn * turns / turns_s[_draws(turns_s, seed)].sum(axis=1)
    low, high = np.percentile(rates, INTERVAL)
    return Rate(float(work_per_turn * turns / turns_s.sum()), float(low), float(high))


def _draws(samples_ms: Array, seed: int) -> npt.NDArray[np.int64]:
    turns = len(samples_ms)
    return np.random.default_rng(seed).integers(turns, size=(RESAMPLES, turns))


def _medians(samples_ms: Array, draws: npt.NDArray[np.int64]) -> Array:
    """(R,) median of each of R draws of turns; a part at a time, all at once would fill memory."""
    parts = (samples_ms[part].reshape(len(part), -1) for part in np.array_split(draws, _PARTS))
    return np.concatenate([np.median(part, axis=1) for part in parts])
