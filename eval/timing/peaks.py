"""The multiply-accumulates per second that this machine reaches, measured during a bench.

A probe is one large product or convolution in one precision on one device, and nothing else. Every
probe runs after each round of the bench, so clocks and other processes are those of the rows. The
peak is the quickest call of any probe: a data sheet's figure needs clocks that a machine under load
does not have, and a share of it would say little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

CALLS = 2
"""Recorded calls of each probe per round, after one unrecorded."""


@dataclass(frozen=True)
class Probe:
    """One large product, inputs in place."""

    device: str
    """"cpu" or "cuda"."""
    precision: str
    """"fp32", "bf16", "fp16" or "int8"."""
    name: str
    """Library, operator and shape, e.g. "ONNX Runtime MatMul 1024x1024x1024"."""
    macs: int
    """Multiply-accumulates of one call."""
    run: Callable[[], object]
    """Has finished when it returns."""


@dataclass(frozen=True)
class Peak:
    """What one probe reached."""

    DERIVED: ClassVar = ("macs_per_s",)

    device: str
    precision: str
    name: str
    macs: int
    samples_ms: tuple[float, ...]

    @property
    def macs_per_s(self) -> float:
        """Of the quickest call."""
        return self.macs / min(self.samples_ms) * 1e3


class PeakMeter:
    """Times all probes when told to; keeps every sample."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = tuple(probes)
        self._samples_ms: list[list[float]] = [[] for _ in probes]

    def round(self) -> None:
        """One unrecorded call of each probe, then `CALLS` recorded ones."""
        for probe, samples_ms in zip(self._probes, self._samples_ms, strict=True):
            probe.run()
            samples_ms += [_timed_ms(probe.run) for _ in range(CALLS)]

    def peaks(self) -> tuple[Peak, ...]:
        """One per probe, after at least one round."""
        return tuple(
            Peak(probe.device, probe.precision, probe.name, probe.macs, tuple(samples_ms))
            for probe, samples_ms in zip(self._probes, self._samples_ms, strict=True)
        )


def best_peak(peaks: Sequence[Peak], device: str, precision: str) -> Peak | None:
    """The highest peak of one device in one precision; None where it was not measured."""
    found = [peak for peak in peaks if (peak.device, peak.precision) == (device, precision)]
    return max(found, key=lambda peak: peak.macs_per_s, default=None)


def _timed_ms(call: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - began) / 1e6
