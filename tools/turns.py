"""Calls timed in turns, for the tools that compare things that are no models."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..eval import BenchOptions
from ..eval.timing.turns import take_turns

Call = Callable[[], float]
"""Runs once and says how many milliseconds that took."""


def take(
    calls: Mapping[str, Call], turns: int, after_round: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Milliseconds of each, by its name."""
    times: dict[str, list[float]] = {name: [] for name in calls}

    def turn(name: str, recorded: int) -> float:
        calls[name]()  # after another's turn
        taken = [calls[name]() for _ in range(recorded)]
        times[name] += taken
        return sum(taken)

    ways = [(name, lambda n, name=name: turn(name, n)) for name in calls]
    take_turns(ways, 1, BenchOptions(turns), lambda done, text: None, after_round)
    return times
