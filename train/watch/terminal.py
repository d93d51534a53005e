"""A run on standard error: a bar with its numbers on a terminal, elsewhere a line every so often.

How long all of it will take is said once, after the first few steps.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from ..recipes.sections import SolverConfig

FEW_STEPS = 5
"""After so many the rest is foretold; the first, which warms up, does not count."""
LINE_EVERY = 20
MOST_LINES = 200
"""Of a run; long ones have a line every so many more steps."""
LOOK_EVERY_S = 0.5
"""For a bar, which nobody reads more often; the losses of a step on a GPU are worth a wait."""
_RECENT = 0.1
"""Share of the last step in the average of their times."""


class Terminal:
    """Says what there is to say of a run, or nothing when it is not `shown`."""

    def __init__(
        self,
        name: str,
        solver: SolverConfig,
        step: int,
        *,
        shown: bool,
        console: Console | None = None,
    ) -> None:
        """Begin at `step`; `console` is standard error's where it is None."""
        self._console = console or Console(stderr=True)
        self._solver, self._first, self._shown = solver, step, shown
        self._line_every = max(LINE_EVERY, solver.steps // MOST_LINES)
        self._step_s: float | None = None
        self._began = time.monotonic()
        self._looked = -math.inf
        self._bar = _Bar(self._console, name, step, solver.steps, hidden=not self._drawn)

    @property
    def _drawn(self) -> bool:
        return self._shown and self._console.is_terminal

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[bool]:
        """While the block lasts the terminal, if it is one, is free for another bar."""
        self._bar.stop()
        try:
            yield self._drawn
        finally:
            self._bar.start()

    def say(self, lines: Iterable[str]) -> None:
        """Print lines as they are."""
        if self._shown:
            for line in lines:
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def step_begins(self) -> None:
        """A step begins, with the wait for its batch."""
        self._began = time.monotonic()

    def stepped(self, step: int, rate: float, terms: Mapping[str, float]) -> float:
        """A step is done; returns pictures a second, lately. Few steps' `terms` are looked at."""
        self._measure(step, time.monotonic() - self._began)
        assert self._step_s is not None, "just measured"
        speed = self._solver.pictures / self._step_s
        left = (self._solver.steps - step) * self._step_s
        if self._drawn:
            losses = _losses(rate, terms) if self._looks() else None
            self._bar.show(step, f"{speed:.3g} pictures/s", f"{spoken(left)} left", losses)
        elif self._shown and (step % self._line_every == 0 or step == self._solver.steps):
            losses = _losses(rate, terms)
            progress = f"step {step}/{self._solver.steps}"
            self.say([f"{progress}  {losses}  {speed:.3g} pictures/s  {spoken(left)} left"])
        if step == self._first + FEW_STEPS < self._solver.steps:
            more = self._solver.steps - step
            size = f"{self._solver.pictures} pictures"
            self.say([f"about {spoken(left)} for the other {more} steps of {size}"])
        return speed

    def _looks(self) -> bool:
        """Whether it is time to look at the losses again."""
        now = time.monotonic()
        if now < self._looked + LOOK_EVERY_S:
            return False
        self._looked = now
        return True

    def _measure(self, step: int, seconds: float) -> None:
        if self._step_s is None or step == self._first + 2:
            self._step_s = seconds
        else:
            self._step_s += _RECENT * (seconds - self._step_s)


class _Bar(Progress):
    """A line that moves and one of losses."""

    def __init__(self, console: Console, name: str, done: int, steps: int, *, hidden: bool) -> None:
        super().__init__(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            *(TextColumn(f"{{task.fields[{field}]}}", markup=False) for field in ("speed", "left")),
            console=console,
            disable=hidden,
        )
        self._losses = name
        self._task = self.add_task(name, total=steps, completed=done, speed="", left="")

    def show(self, step: int, speed: str, left: str, losses: str | None) -> None:
        """Both lines anew; without losses the second stays."""
        self._losses = losses or self._losses
        self.update(self._task, completed=step, speed=speed, left=left)

    def get_renderables(self) -> Iterable[RenderableType]:
        """See `Progress.get_renderables`."""
        yield self.make_tasks_table(self.tasks)
        yield Text(getattr(self, "_losses", ""))


def spoken(seconds: float) -> str:
    """A duration in its two largest units: "45 s", "12 min", "2 h 10 min", "3 d 4 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _losses(rate: float, terms: Mapping[str, float]) -> str:
    return f"lr {rate:.3g}  loss {sum(terms.values()):.4g} ({_listed(terms)})"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())
