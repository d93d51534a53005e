"""Pictures per second and latency when several threads share one opened model.

Each candidate is loaded by 1 stream and by N, a stream being a thread that predicts one batch after
the other; turns go A1 AN B1 BN BN B1 AN A1. Both loads make equally many calls per turn, taken from
one queue, so that no thread is idle before the last calls. A turn's time is from its first call's
start to its last call's end; pictures per second are all its pictures over that, latencies those of
single calls under the load, pipeline scope.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..report.table import Table
from .bootstrap import Rate, Ratio, Summary, missing_note, rate_ratio, summarize, work_rate
from .runner import Candidate, Image
from .turns import TURNS, BenchOptions, take_turns

Array = npt.NDArray[np.float64]

_NOTE = (
    "streams: threads that share one opened model. pictures/s: ± half the 95 % bootstrap interval. "
    "gain: over one stream, with its interval. p50 to p99: milliseconds of a call under that load, "
    "decoded picture in, run-length masks out."
)
CALLS_PER_STREAM = 4
"""At least so many calls of each stream per turn: the idle end of a turn stays small beside it."""


@dataclass(frozen=True)
class Throughput:
    """One model under one load; T turns of n calls."""

    name: str
    backend: str
    sha256: str
    batch: int
    streams: int
    turns_s: Array
    """(T,) seconds of each turn."""
    samples_ms: Array
    """(T, n) milliseconds of each call, in the order in which calls were taken."""
    pictures_per_s: Rate
    summary: Summary
    gain: Ratio
    """Pictures per second over those of one stream."""


def measure_throughput(
    candidates: Sequence[Candidate], images: Sequence[Image], streams: int, options: BenchOptions
) -> tuple[Throughput, ...]:
    """Load every candidate with one stream and with `streams`, interleaved.

    Args:
        candidates: opened models, any batch sizes.
        images: decoded pictures, (H, W, 3) uint8 RGB; used in order, again from the start.
        streams: threads of the second load, at least 2.
        options: how long; `samples` counts the calls of one load, in whole turns of
            `CALLS_PER_STREAM` and more for each stream.

    Returns:
        Two per candidate: one stream, then `streams`.
    """
    with contextlib.ExitStack() as stack:
        loads = [
            _Load(candidate, images, count, stack.enter_context(ThreadPoolExecutor(count)))
            for candidate in candidates
            for count in (1, streams)
        ]
        calls = max(options.samples // TURNS, CALLS_PER_STREAM * streams)
        turns = [(load.candidate.name, load.turn) for load in loads]
        take_turns(turns, calls, options, lambda _fraction, _text: None)
    pairs = zip(loads[::2], loads[1::2], strict=True)
    return tuple(load.result(one, options.seed) for one, many in pairs for load in (one, many))


class _Load:
    """One candidate, and the threads that call it."""

    def __init__(
        self, candidate: Candidate, images: Sequence[Image], streams: int, pool: ThreadPoolExecutor
    ) -> None:
        self.candidate, self.images, self.streams, self.pool = candidate, images, streams, pool
        self.turns_s: list[float] = []
        self.samples_ms: list[list[float]] = []

    def turn(self, calls: int) -> float:
        """One unrecorded call per stream, then `calls` recorded ones; from the first to the end."""
        list(self.pool.map(self._call, range(self.streams)))
        began = time.perf_counter()
        self.samples_ms.append(list(self.pool.map(self._call, range(calls))))
        self.turns_s.append(time.perf_counter() - began)
        return 1e3 * self.turns_s[-1]

    def _call(self, number: int) -> float:
        """Predict the batch of call `number`, in milliseconds."""
        predictor = self.candidate.predictor
        start, count = number * predictor.contract.batch, len(self.images)
        batch = [self.images[(start + i) % count] for i in range(predictor.contract.batch)]
        began = time.perf_counter_ns()
        for instances in predictor.predict(batch):
            if instances.mask_probs is not None:
                instances.rles()
        return (time.perf_counter_ns() - began) / 1e6

    def result(self, one_stream: _Load, seed: int) -> Throughput:
        """What was measured, compared with the load of one stream."""
        predictor = self.candidate.predictor
        samples_ms, turns_s = np.array(self.samples_ms), np.array(self.turns_s)
        batch = predictor.contract.batch
        return Throughput(
            name=self.candidate.name,
            backend=str(predictor.session.backend),
            sha256=self.candidate.sha256,
            batch=batch,
            streams=self.streams,
            turns_s=turns_s,
            samples_ms=samples_ms,
            pictures_per_s=work_rate(batch * samples_ms.shape[1], turns_s, seed),
            summary=summarize(samples_ms, seed),
            gain=rate_ratio(np.array(one_stream.turns_s), turns_s, seed),
        )


def throughput_table(results: Sequence[Throughput]) -> Table:
    """Two rows per model: one stream and several."""
    return Table(
        title="Throughput",
        columns=("model", "backend", "streams", "pictures/s", "gain", "p50", "p90", "p99", "calls"),
        rows=tuple(_row(result) for result in results),
        notes=(_NOTE, *missing_note(max(result.summary.turns_missing for result in results))),
    )


def _row(result: Throughput) -> tuple[str, ...]:
    rate, summary, gain = result.pictures_per_s, result.summary, result.gain
    return (
        result.name,
        result.backend,
        str(result.streams),
        str(rate),
        "1" if result.streams == 1 else gain.text(),
        *(f"{ms:.2f}" for ms in (summary.p50_ms, summary.p90_ms, summary.p99_ms)),
        str(summary.samples),
    )
