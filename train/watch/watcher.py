"""All that looks at a run: terminal, logs, the caller's hook, evaluations and pages.

The first process has one. Nothing here changes what the next step does; whether there is one is up
to `exhausted`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from ...eval import NO_TRUTH
from ..data.batches import Batch
from ..recipes.recipe import Recipe
from ..run_folder import BEST
from ..run_log import Log, OnLog
from ..schedule import learning_rate
from .evaluations import SCORES, Evaluations
from .pages import Pages
from .terminal import Terminal
from .validation import Validation


class Watcher:
    """One run's; a context manager, closed when it ends however that may be."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        step: int,
        *,
        validation: Validation | None,
        progress: bool,
        on_log: OnLog | None,
    ) -> None:
        """Watch a run that begins or goes on after `step`; arguments as `loop.train`."""
        self._solver, self._validation, self._first = recipe.solver, validation, step
        self._evaluations = Evaluations(out, step)
        self._log = Log(out, step, on_log)
        self._terminal = Terminal(recipe.name, recipe.solver, step, shown=progress)
        self._pages = None if validation is None else Pages(out, recipe.name)
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Watcher:
        self._closing.enter_context(self._terminal)
        self._closing.enter_context(contextlib.closing(self._log))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, value, trace)

    def begin(
        self, lines: Sequence[str], batches: Callable[[], Iterable[Batch]], names: Sequence[str]
    ) -> None:
        """Say `lines`, and draw what `batches` gives before the first step; `names` of classes."""
        self._terminal.say(lines)
        if self._pages is not None and self._pages.missing:
            self._terminal.say([self._pages.missing])
            self._pages = None
        if self._pages is not None:
            if self._first:
                self._pages.go_on(self._first)
            else:
                self._pages.begin(batches(), names)

    def step_begins(self) -> None:
        """A step begins, with the wait for its batch."""
        self._terminal.step_begins()

    def stepped(self, step: int, terms: Mapping[str, float]) -> None:
        """A step is done; `terms` are its losses by name."""
        rate = learning_rate(self._solver, step - 1)
        speed = self._terminal.stepped(step, rate, terms)
        self._log.write(step, rate, terms, speed)

    @property
    def exhausted(self) -> bool:
        """Whether so many evaluations were no gain that the recipe asks for an end."""
        patience = self._solver.patience
        return bool(patience) and self._evaluations.without_gain >= patience

    def has_evaluated(self, step: int) -> bool:
        """Whether the run's evaluation at `step` is there, from before it was cut off too."""
        return step in self._evaluations.rows

    def evaluate(self, path: Path, step: int) -> bool:
        """Measure the checkpoint of `step`; whether it is the best so far of several."""
        assert self._validation is not None, "evaluations are due where there is a val split"
        with self._terminal.paused() as drawn:
            measurement = self._validation.measure(path, step, progress=drawn)
        measured = measurement.accuracy.measured
        is_best = bool(self._solver.eval_every) and self._evaluations.add(step, measured)
        self._log.add(step, {f"val_{name}": value for name, value in measured.items()})
        sentence = _spoken(measured) + (", the best so far" if is_best else "")
        self._terminal.say([f"step {step}: {sentence}"])
        if self._pages is not None:
            self._pages.evaluated(step, sentence, measurement, self._validation.data)
        return is_best

    @property
    def evaluated_at(self) -> int | None:
        """The step of the last evaluation of this run."""
        last = self._validation.last if self._validation is not None else None
        return None if last is None else last[0]

    @property
    def measured(self) -> dict[str, float]:
        """What the last evaluation gave, by name."""
        assert self._validation is not None, "there was an evaluation"
        assert self._validation.last is not None, "there was an evaluation"
        return self._validation.last[1].accuracy.measured

    def finish(self, step: int) -> None:
        """Write the report of a run whose result is measured."""
        rows, best = self._evaluations.rows, self._evaluations.best
        sentences = [f"{step} steps of {self._solver.pictures} pictures."]
        if step < self._solver.steps:
            sentences.append(
                f"Ended early: {self._evaluations.without_gain} evaluations without a new best "
                f"(solver.patience={self._solver.patience})."
            )
        if best is not None:
            sentences.append(f"Best: step {best}, {_spoken(rows[best])} ({BEST}).")
        self._terminal.say(sentences)
        if self._pages is not None and self._validation is not None and self._validation.last:
            measurement = self._validation.last[1]
            self._pages.finish(sentences, measurement, self._validation.data, rows, best)


def _spoken(measured: Mapping[str, float]) -> str:
    """An accuracy in words: mask AP 11.0, box AP 12.3."""
    return ", ".join(_one(name, measured[name]) for name in SCORES if name in measured)


def _one(name: str, value: float) -> str:
    kind, metric, *limit = name.split("_")
    shown = "n/a" if value == NO_TRUTH else f"{value:.1f}"
    return f"{kind} {'@'.join([metric.upper(), *limit])} {shown}"
