"""What a few seeds say: mean, 95 % interval by Student's t, and whether an order is theirs.

    mean +- t * s / sqrt(n)      s the sample's deviation, t the 97.5 % point at n - 1

Two rows are compared by their differences seed by seed, since equal seeds see equal pictures.
Source of t: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""At 1 to 9 degrees of freedom."""
MOST_SEEDS = len(T_975) + 1

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Mean:
    """Of the values of several seeds."""

    value: float
    half: float | None
    """Of the interval; None of one seed."""

    def __str__(self) -> str:
        """As a table has it."""
        return f"{self.value:.1f}" + ("" if self.half is None else f" ± {self.half:.1f}")


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and interval of 1 to `MOST_SEEDS` values."""
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Mean(mean, None)
    return Mean(mean, T_975[count - 2] * statistics.stdev(values) / math.sqrt(count))


def order_sentence(rows: Sequence[tuple[str, float, BySeed]], of: str) -> str:
    """Whether the paper's order is that of these runs.

    Args:
        rows: name, the paper's figure and the values found by seed, of each.
        of: what the figures are, e.g. "box AP".
    """
    ranked = sorted(rows, key=lambda row: -row[1])
    steps = [_step(*two) for two in pairwise(ranked) if two[0][1] > two[1][1]]
    order = " > ".join(name for name, _, _ in ranked)
    told = f"The paper's order by {of}, {order}, "
    if any(step is None for step in steps) or not steps:
        return told + "cannot be judged: that needs two seeds of each row."
    known = [step for step in steps if step is not None]
    against = [step.words for step in known if step.high < 0]
    unsure = [step.words for step in known if step.low <= 0 <= step.high]
    if against:
        return f"{told}does not hold: {'; '.join(against)}."
    if not unsure:
        return f"{told}holds: every step is above 0 with its interval ({_all_words(known)})."
    if all(step.mean > 0 for step in known):
        return f"{told}is that of the means, and the intervals leave open: {'; '.join(unsure)}."
    return f"{told}is not that of the means, within the intervals: {'; '.join(unsure)}."


@dataclass(frozen=True)
class _Step:
    """From one row of the paper's order to the next below it."""

    names: tuple[str, str]
    mean: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """The difference and its interval."""
        better, worse = self.names
        return f"{better} - {worse} {self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def _step(better: tuple[str, float, BySeed], worse: tuple[str, float, BySeed]) -> _Step | None:
    seeds = better[2].keys() & worse[2].keys()
    if len(seeds) < 2:
        return None
    found = mean_of([better[2][seed] - worse[2][seed] for seed in sorted(seeds)])
    half = found.half or 0.0
    names = (better[0], worse[0])
    return _Step(names, found.value, found.value - half, found.value + half)


def _all_words(steps: Sequence[_Step]) -> str:
    return "; ".join(step.words for step in steps)
