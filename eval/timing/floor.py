"""The least time a row could take on this machine, and how near it comes.

A network must do its multiply-accumulates (MACs) and must at least read its weights and inputs and
write its outputs once. Over the MACs per second that a large product reaches here (`peaks`) and the
bytes per second that a copy reaches, those two give two times; the larger is the **floor**, as both
can overlap. Tensors between layers may stay in caches, so they are not in it, nor are operators
that multiply nothing: the floor is a bound that no implementation beats, not one that any reaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..report.table import NOT_AVAILABLE, Table
from .latency import BackendLatency
from .peaks import Peak, best_peak

NOT_MEASURED = "not measured"
_COLUMNS = (
    *("model", "backend", "GMACs", "in FP16", "MB"),
    *("MACs ms", "bytes ms", "measured ms", "of peak"),
)
_NOTE = (
    "Per call. MACs ms, bytes ms: what the layers' MACs and the least bytes (weights, inputs and "
    "outputs once) take at the peaks measured in this run; of peak: the larger of both over the "
    "median of the engine scope, or of the model scope without one."
)


@dataclass(frozen=True)
class Work:
    """What one run of one artefact cannot avoid."""

    full_macs: int
    """Multiply-accumulates in FP32."""
    half_macs: int
    """Multiply-accumulates in FP16, as the file says; `Backend.half_precision` runs them."""
    least_bytes: int
    """Weights, inputs and outputs, once each."""
    source: str
    """Where the numbers come from, e.g. "its own layers" or "the parsed network"."""
    int8_macs: int = 0
    """Multiply-accumulates in INT8, as the file says."""

    @property
    def macs(self) -> int:
        """All of them."""
        return self.full_macs + self.half_macs + self.int8_macs


@dataclass(frozen=True)
class Floor:
    """One row's work over this machine's peaks; times in milliseconds per call."""

    DERIVED: ClassVar = ("floor_ms", "of_peak")

    name: str
    backend: str
    batch: int
    device: str
    half_precision: str
    """What computes the FP16 MACs: "fp16", "bf16", or "fp32" where the CPU has nothing else."""
    work: Work
    compute_ms: float | None
    """None where a peak that it needs was not measured."""
    bytes_ms: float | None
    scope: str
    """Of `measured_ms`: engine where the row has it, else model."""
    measured_ms: float

    @property
    def floor_ms(self) -> float | None:
        """The larger of the two times; None where one of them is unknown."""
        if self.compute_ms is None or self.bytes_ms is None:
            return None
        return max(self.compute_ms, self.bytes_ms)

    @property
    def of_peak(self) -> float | None:
        """Floor over the measured median: 1 is as fast as this machine could be."""
        return None if self.floor_ms is None else self.floor_ms / self.measured_ms


def floors(
    backends: Sequence[BackendLatency],
    works: Mapping[str, Work],
    peaks: Sequence[Peak],
    bandwidths: Mapping[str, float],
) -> tuple[Floor, ...]:
    """The floor of every row whose work is known.

    Args:
        backends: rows of a bench.
        works: by row name.
        peaks: measured in the same bench.
        bandwidths: measured bytes per second, read plus written, by device ("cpu", "cuda").
    """
    return tuple(
        _floor(backend, works[backend.name], peaks, bandwidths)
        for backend in backends
        if backend.name in works
    )


def _floor(
    backend: BackendLatency,
    work: Work,
    peaks: Sequence[Peak],
    bandwidths: Mapping[str, float],
) -> Floor:
    device, half = backend.device, backend.half_precision
    bandwidth = bandwidths.get(device)
    scope = "engine" if "engine" in backend.summaries else "model"
    return Floor(
        name=backend.name,
        backend=backend.backend,
        batch=backend.batch,
        device=device,
        half_precision=half,
        work=work,
        compute_ms=_compute_ms(work, peaks, device, half),
        bytes_ms=None if bandwidth is None else work.least_bytes / bandwidth * 1e3,
        scope=scope,
        measured_ms=backend.summaries[scope].p50_ms,
    )


def _compute_ms(work: Work, peaks: Sequence[Peak], device: str, half: str) -> float | None:
    total_ms = 0.0
    parts = ((work.full_macs, "fp32"), (work.half_macs, half), (work.int8_macs, "int8"))
    for macs, precision in parts:
        if not macs:
            continue
        peak = best_peak(peaks, device, precision)
        if peak is None:
            return None
        total_ms += macs / peak.macs_per_s * 1e3
    return total_ms


def floor_table(
    found: Sequence[Floor],
    peaks: Sequence[Peak],
    bandwidths: Mapping[str, float],
    uncounted: Sequence[str] = (),
) -> Table:
    """One row per artefact, and the peaks in the notes; `uncounted` names rows without work."""
    notes = [_NOTE, f"Measured peaks: {peaks_sentence(peaks, bandwidths)}."]
    if uncounted:
        notes.append(f"Not counted: {', '.join(uncounted)}; its ONNX file beside it would be.")
    return Table(
        title="Physical floor",
        columns=_COLUMNS,
        rows=tuple(_row(one) for one in found),
        notes=tuple(notes),
    )


def peaks_sentence(peaks: Sequence[Peak], bandwidths: Mapping[str, float]) -> str:
    """The best of every device and precision, with the probe that reached it."""
    kinds = dict.fromkeys((peak.device, peak.precision) for peak in peaks)
    best = [peak for kind in kinds if (peak := best_peak(peaks, *kind)) is not None]
    words = [
        f"{peak.device.upper()} {peak.precision.upper()} {peak.macs_per_s / 1e9:.1f} GMAC/s "
        f"({peak.name})"
        for peak in best
    ]
    words += [f"{name.upper()} copy {speed / 1e9:.1f} GB/s" for name, speed in bandwidths.items()]
    return "; ".join(words) or NOT_MEASURED


def _row(one: Floor) -> tuple[str, ...]:
    work = one.work
    macs = work.macs
    share = one.of_peak
    return (
        one.name,
        one.backend,
        f"{macs / 1e9:.2f}",
        f"{work.half_macs / macs:.0%}" if macs else NOT_AVAILABLE,
        f"{work.least_bytes / 1e6:.1f}",
        _ms(one.compute_ms),
        _ms(one.bytes_ms),
        f"{one.measured_ms:.2f}",
        NOT_MEASURED if share is None else f"{share:.1%}",
    )


def _ms(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.3f}"
