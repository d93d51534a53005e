"""One model under the clock: warm-up, then turns of recorded calls over the same pictures.

Separate from `latency`, which decides whose turn it is and what the samples say; rows of its
tables get all their times here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.predictor import Predictor

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

_WINDOW = 10  # calls in the rolling median of the warm-up


@dataclass(frozen=True)
class Candidate:
    """One opened model to time."""

    name: str
    """What the reader calls it, e.g. the file's name."""
    predictor: Predictor
    sha256: str
    """Of the artefact's file; its accuracy is looked up by this."""


@dataclass(frozen=True)
class BenchOptions:
    """How long to measure. `quick_options` is the demo's choice."""

    samples: int = 200
    """Recorded calls per backend at least; used where `seconds` is None."""
    seconds: float | None = None
    """Recorded time instead of a number of samples: this much per backend on average. All get
    equally many calls, or their turns could not be compared; a slow one takes more of it."""
    turn_calls: int = 5
    """Recorded calls before the next backend's turn."""
    warmup_calls: int = 100
    """Bounds of the warm-up: it ends at whichever is reached first, stable or not."""
    warmup_seconds: float = 20.0
    stable_within: float = 0.02
    """Warm when two neighbouring windows' medians differ by less than this fraction."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self) -> None:
        wrong_seconds = self.seconds is not None and not self.seconds > 0
        if self.samples < 1 or self.turn_calls < 1 or wrong_seconds:
            raise InputError(
                f"bench: samples={self.samples}, seconds={self.seconds}, turn_calls="
                f"{self.turn_calls}; all must be positive. Ask for at least one sample."
            )


def quick_options() -> BenchOptions:
    """Short run for a demonstration: enough for a first look, with honestly wider intervals."""
    return BenchOptions(
        samples=20, turn_calls=2, warmup_calls=30, warmup_seconds=3.0, stable_within=0.05
    )


class Runner:
    """One candidate with its samples; warms up when made."""

    def __init__(
        self, candidate: Candidate, images: Sequence[Image], options: BenchOptions
    ) -> None:
        self.candidate = candidate
        self.images = images
        self.turns: list[list[dict[str, float]]] = []
        self.recorded_ms = 0.0
        self._next_picture = 0
        self.first_call_ms = self._call(self._batch())["pipeline"]
        self.warmup_calls, self.warmed_up = self._warm_up(options)
        self._next_picture = 0

    def turn(self, calls: int) -> None:
        """One unrecorded call, then `calls` recorded ones on the pictures that follow."""
        self._call(self._batch(advance=False))
        samples = [self._call(self._batch()) for _ in range(calls)]
        self.recorded_ms += sum(sample["pipeline"] for sample in samples)
        self.turns.append(samples)

    def samples(self) -> dict[str, Array]:
        """All samples as (T, n) arrays by scope and phase."""
        return {
            key: np.array([[sample[key] for sample in turn] for turn in self.turns])
            for key in self.turns[0][0]
        }

    def _batch(self, *, advance: bool = True) -> list[Image]:
        batch = self.candidate.predictor.contract.batch
        start = self._next_picture
        if advance:
            self._next_picture = (start + batch) % len(self.images)
        return [self.images[(start + offset) % len(self.images)] for offset in range(batch)]

    def _warm_up(self, options: BenchOptions) -> tuple[int, bool]:
        began, times = time.perf_counter(), [self.first_call_ms]
        while True:
            older, newer = times[-2 * _WINDOW : -_WINDOW], times[-_WINDOW:]
            if len(older) == _WINDOW:
                change = abs(float(np.median(newer)) / float(np.median(older)) - 1.0)
                if change < options.stable_within:
                    return len(times), True
            spent = time.perf_counter() - began
            if len(times) >= options.warmup_calls or spent >= options.warmup_seconds:
                return len(times), False
            times.append(self._call(self._batch())["pipeline"])

    def _call(self, batch: list[Image]) -> dict[str, float]:
        """One pass over a batch, timed: milliseconds by scope and phase."""
        predictor = self.candidate.predictor
        marks = [time.perf_counter_ns()]
        canvases, sizes = predictor.preprocess(batch)
        marks.append(time.perf_counter_ns())
        outputs = predictor.run(canvases, sizes)
        marks.append(time.perf_counter_ns())
        for instances in predictor.postprocess(outputs, batch, sizes):
            instances.rles()
        marks.append(time.perf_counter_ns())
        pre, model, post = ((after - before) / 1e6 for before, after in pairwise(marks))
        sample = {"pre": pre, "model": model, "post": post, "pipeline": pre + model + post}
        if (device := predictor.session.device) is not None:
            device.upload(canvases, sizes)
            began = time.perf_counter_ns()
            device.execute()
            sample["engine"] = (time.perf_counter_ns() - began) / 1e6
        return sample
