"""Latency of several opened models under one protocol, so that one table may hold them all.

    rounds of A B B A      each backend: one unrecorded call, then some recorded ones
    one recorded call      pre | model | post; the same pictures in the same order for all

Three scopes. **pipeline**: decoded pictures in, instances with run-length masks of the original
size out; **model**: the middle of it, bytes on the host in, results on the host out
(`Session.run`); **engine**: inputs and outputs stay on the device, for sessions that offer it
(`Session.on_device`). File decoding is in none. Pipeline and model come from the same call,
so pre + model + post is the pipeline exactly. Of a row with `pictures=gpu` canvases are placed on
the GPU: pre queues that, model waits for it and starts from canvases there.

Turns and warm-up are those of `turns`. Pictures are real ones of the data set: on noise a detector
finds nothing and its post-processing costs nothing.

Models of several batch sizes and families share the run, hence its drift, but a ratio compares
equal batches of one family only: proposals are no faster detections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.sessions.interface import Computes, DeviceKind
from .bootstrap import Ratio, Summary, speed_ratio, summarize
from .peaks import Peak, PeakMeter, Probe
from .runner import Candidate, Image, Runner
from .turns import BenchOptions, Tell, take_turns

Array = npt.NDArray[np.float64]

SCOPES = ("engine", "model", "pipeline")
PHASES = ("pre", "model", "post")


@dataclass(frozen=True)
class BackendLatency:
    """One measured model. Sample arrays are (T, n): T turns of n calls, milliseconds per call."""

    name: str
    backend: str
    """As tables show it (`Backend.label`)."""
    device: DeviceKind
    half_precision: Computes
    """What computes FP16 products here."""
    precision: str
    """Of the file."""
    sha256: str
    family: str
    """Of the contract, `mask_rcnn` or `fastmask`."""
    variant: str
    """Of the contract: rows of one variant are the same network."""
    batch: int
    """Pictures per call."""
    first_call_ms: float
    """With all that happens once: kernels chosen, memory taken. In no other figure."""
    warmup_calls: int
    warmed_up: bool
    """Whether the rolling median became stable before the bound."""
    samples_ms: dict[str, Array]
    """By scope; `engine` is absent where the session cannot leave data on the device."""
    phases_ms: dict[str, Array]
    """By phase of the pipeline."""
    summaries: dict[str, Summary]
    """By scope."""
    speedups: dict[str, Ratio] = field(default_factory=dict)
    """By scope that both offer: times faster than the first backend of the same family and batch;
    empty for the first itself."""

    def phase_medians_ms(self) -> dict[str, float]:
        """Median of each phase; their sum is near the pipeline's median, not equal to it."""
        return {phase: float(np.median(samples)) for phase, samples in self.phases_ms.items()}


@dataclass(frozen=True)
class Bench:
    """One interleaved run over all candidates."""

    DERIVED: ClassVar = ("turns_missing",)

    backends: tuple[BackendLatency, ...]
    options: BenchOptions
    pictures: int
    picture_names: tuple[str, ...]
    clock_log: tuple[dict[str, Any], ...]
    """`clock_probe` after every round (GPU clocks, temperature, throttling); empty without one."""
    peaks: tuple[Peak, ...] = ()
    """What the probes reached in this run; empty without probes."""

    @property
    def turns_missing(self) -> int:
        """How many more turns an interval needs; 0 where every figure has one."""
        return self.backends[0].summaries["pipeline"].turns_missing

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes of its rows, ascending."""
        return tuple(sorted({backend.batch for backend in self.backends}))

    def of_batch(self, batch: int) -> Bench:
        """The same run with the rows of one batch size only."""
        rows = tuple(backend for backend in self.backends if backend.batch == batch)
        return replace(self, backends=rows)


def bench(
    candidates: Sequence[Candidate],
    images: Sequence[Image],
    options: BenchOptions | None = None,
    *,
    picture_names: Sequence[str] = (),
    clock_probe: Callable[[], dict[str, Any]] | None = None,
    peak_probes: Sequence[Probe] = (),
    on_progress: Tell | None = None,
) -> Bench:
    """Time every candidate on the same pictures in interleaved turns.

    Args:
        candidates: opened models; the others are compared with the first of their family and
            batch size.
        images: decoded pictures, (H, W, 3) uint8 RGB; used in order, again from the start.
        options: how long; defaults measure 200 calls each.
        picture_names: recorded with the result.
        clock_probe: called after every round, between measurements.
        peak_probes: timed after every round.
        on_progress: told the fraction done in [0, 1] and what is being done.

    Raises:
        InputError: no candidate or no picture.
    """
    options = options or BenchOptions()
    _check(candidates, images)
    tell = on_progress or (lambda _fraction, _text: None)
    runners = []
    for candidate in candidates:
        tell(0.0, f"warming up {candidate.name}")
        runners.append(Runner(candidate, images, options))
    meter = PeakMeter(peak_probes)
    clock_log = []

    def after_round() -> None:
        if clock_probe is not None:
            clock_log.append(clock_probe())
        meter.round()

    turns = [(runner.candidate.name, runner.turn) for runner in runners]
    call_ms = float(np.mean([runner.warm_up.call_ms for runner in runners]))
    take_turns(turns, options.turn_calls(call_ms), options, tell, after_round)
    return Bench(
        backends=_results(runners, options.seed),
        options=options,
        pictures=len(images),
        picture_names=tuple(picture_names),
        clock_log=tuple(clock_log),
        peaks=meter.peaks(),
    )


def _check(candidates: Sequence[Candidate], images: Sequence[Image]) -> None:
    if not candidates or not images:
        raise InputError(
            f"bench: {len(candidates)} models and {len(images)} pictures; expected at least one of"
            " each. Name a model and a data set with pictures."
        )


def _results(runners: Sequence[Runner], seed: int) -> tuple[BackendLatency, ...]:
    firsts: dict[tuple[str, int], Runner] = {}
    results = []
    for runner in runners:
        predictor, samples = runner.candidate.predictor, runner.samples()
        contract, backend = predictor.contract, predictor.session.backend
        scopes = {scope: samples[scope] for scope in SCOPES if scope in samples}
        first_runner = firsts.setdefault((contract.model, contract.batch), runner)
        first = first_runner.samples()
        compared = [] if runner is first_runner else [scope for scope in scopes if scope in first]
        results.append(
            BackendLatency(
                name=runner.candidate.name,
                backend=str(backend),
                device=backend.device,
                half_precision=backend.half_precision,
                precision=contract.precision,
                sha256=runner.candidate.sha256,
                family=contract.model,
                variant=contract.variant,
                batch=contract.batch,
                first_call_ms=runner.warm_up.first_call_ms,
                warmup_calls=runner.warm_up.calls,
                warmed_up=runner.warm_up.stable,
                samples_ms=scopes,
                phases_ms={phase: samples[phase] for phase in PHASES},
                summaries={scope: summarize(scopes[scope], seed) for scope in scopes},
                speedups={s: speed_ratio(first[s], scopes[s], seed) for s in compared},
            )
        )
    return tuple(results)
