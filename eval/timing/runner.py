"""One model under the clock: warm-up, then turns of recorded calls over the same pictures.

Separate from `latency`, which says what the samples mean; rows of its tables get all their times
here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ...runtime.predictor import Predictor
from .turns import BenchOptions, warm_up

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


class Runner:
    """One candidate with its samples; warms up when made."""

    def __init__(
        self, candidate: Candidate, images: Sequence[Image], options: BenchOptions
    ) -> None:
        self.candidate = candidate
        self.images = images
        self._turns: list[list[dict[str, float]]] = []
        self._next_picture = 0
        self.warm_up = warm_up(lambda: self._call(self._batch())["pipeline"], options, _WINDOW)
        self._next_picture = 0

    def turn(self, calls: int) -> float:
        """One unrecorded call, then `calls` recorded ones on the pictures that follow, in ms."""
        self._call(self._batch(advance=False))
        samples = [self._call(self._batch()) for _ in range(calls)]
        self._turns.append(samples)
        return sum(sample["pipeline"] for sample in samples)

    def samples(self) -> dict[str, Array]:
        """All samples as (T, n) arrays by scope and phase."""
        return {
            key: np.array([[sample[key] for sample in turn] for turn in self._turns])
            for key in self._turns[0][0]
        }

    def _batch(self, *, advance: bool = True) -> list[Image]:
        batch = self.candidate.predictor.contract.batch
        start = self._next_picture
        if advance:
            self._next_picture = (start + batch) % len(self.images)
        return [self.images[(start + offset) % len(self.images)] for offset in range(batch)]

    def _call(self, batch: list[Image]) -> dict[str, float]:
        """One pass over a batch, timed: milliseconds by scope and phase."""
        predictor = self.candidate.predictor
        marks = [time.perf_counter_ns()]
        canvases, sizes = predictor.preprocess(batch)
        marks.append(time.perf_counter_ns())
        outputs = predictor.run(canvases, sizes)
        marks.append(time.perf_counter_ns())
        for instances in predictor.postprocess(outputs, batch, sizes):
            if instances.mask_probs is not None:
                instances.rles()
        marks.append(time.perf_counter_ns())
        pre, model, post = ((after - before) / 1e6 for before, after in pairwise(marks))
        sample = {"pre": pre, "model": model, "post": post, "pipeline": pre + model + post}
        if (on_device := predictor.session.on_device) is not None:
            on_device.upload(canvases, sizes)
            began = time.perf_counter_ns()
            on_device.execute()
            sample["engine"] = (time.perf_counter_ns() - began) / 1e6
        return sample
