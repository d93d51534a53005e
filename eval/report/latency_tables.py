"""The tables of a bench; each row beside the accuracy of that same file, or that it has none."""

from __future__ import annotations

from collections.abc import Sequence

from ..coco.accuracy import HEADLINE, Accuracy
from ..machine.environment import has_gpu
from ..timing.bootstrap import missing_note
from ..timing.latency import PHASES, SCOPES, BackendLatency, Bench
from .accuracy_tables import points
from .table import NOT_AVAILABLE, Table

NOT_MEASURED = "accuracy not measured"
_LATENCY_NOTE = (
    "Milliseconds per call (batch {batch}), median of {calls} calls each, interleaved A B B A; "
    "± is half the 95 % bootstrap interval. engine: device in, device out; model: host bytes in, "
    "results on host; pipeline: decoded picture in, run-length masks out."
)
_SPEEDUP_NOTE = (
    "speed-up: median of the family's first row over this row's, model scope, with its 95 % "
    "interval; in brackets where it is not certain."
)
_NO_GPU_NOTE = (
    "No NVIDIA GPU here: with one, this table gains rows for ONNX Runtime CUDA and for TensorRT "
    "FP32 and FP16, and the engine column."
)


def latency_tables(
    result: Bench, accuracies: Sequence[Accuracy], *, gpu: bool | None = None
) -> list[Table]:
    """A latency table for each batch size; with several, one of milliseconds per picture too."""
    # what a GPU would add is said once
    tables = [
        latency_table(result.of_batch(batch), accuracies, gpu=True if number else gpu)
        for number, batch in enumerate(result.batches)
    ]
    return [*tables, batch_table(result)] if len(tables) > 1 else tables


def latency_table(
    result: Bench, accuracies: Sequence[Accuracy], *, gpu: bool | None = None
) -> Table:
    """One row per backend: three scopes, speed-up, and the accuracy of that same file.

    Args:
        result: the run, rows of one batch size.
        accuracies: of any artefacts; a row takes the one with its name and its file's SHA-256.
        gpu: whether the measuring machine has a GPU; None asks this machine.
    """
    batch, calls = result.backends[0].batch, result.backends[0].summaries["model"].samples
    notes = [_LATENCY_NOTE.format(batch=batch, calls=calls), _SPEEDUP_NOTE]
    notes += [*missing_note(result.turns_missing), *_latency_warnings(result)]
    if not (has_gpu() if gpu is None else gpu):
        notes.append(_NO_GPU_NOTE)
    # the same bytes, opened in the same session
    known = {(accuracy.sha256, accuracy.name): accuracy for accuracy in accuracies}
    shown = [known.get((backend.sha256, backend.name)) for backend in result.backends]
    metrics = sorted({accuracy.metric for accuracy in shown if accuracy is not None})
    label = HEADLINE[metrics[0]] if len(metrics) == 1 else "accuracy"
    return Table(
        title=f"Latency, batch {batch}" if batch > 1 else "Latency",
        columns=(
            "model",
            "backend",
            "engine ms",
            "model ms",
            "pipeline ms",
            "speed-up",
            f"box / mask {label}",
        ),
        rows=tuple(
            (*_latency_cells(backend), _accuracy_cell(accuracy, named=len(metrics) > 1))
            for backend, accuracy in zip(result.backends, shown, strict=True)
        ),
        notes=tuple(notes),
    )


def batch_table(result: Bench) -> Table:
    """What a picture costs in a batch: one row per backend and batch size."""
    rows = []
    for backend in sorted(result.backends, key=lambda backend: backend.batch):
        times = [backend.summaries[scope].p50_ms for scope in ("model", "pipeline")]
        cells = [f"{ms / backend.batch:.2f}" for ms in times]
        rows.append((backend.name, backend.backend, str(backend.batch), *cells))
    return Table(
        title="Per picture, by batch",
        columns=("model", "backend", "batch", "model ms", "pipeline ms"),
        rows=tuple(rows),
        notes=("Median milliseconds of a call over its pictures; all batches in one run.",),
    )


def spread_table(result: Bench) -> Table:
    """Percentiles and spread of every scope of every backend."""
    rows = []
    for backend in result.backends:
        for scope, summary in backend.summaries.items():
            times = (summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.mean_ms)
            cells = [f"{ms:.2f}" for ms in times]
            cov = f"{100 * summary.cov:.1f} %"
            rows.append((backend.name, backend.backend, scope, *cells, cov, str(summary.samples)))
    return Table(
        title="Latency, spread in ms",
        columns=("model", "backend", "scope", "p50", "p90", "p99", "mean", "CoV", "calls"),
        rows=tuple(rows),
        notes=("CoV: standard deviation over mean. No sample was removed.",),
    )


def phase_table(result: Bench) -> Table:
    """Where the pipeline's time goes, medians per phase."""
    rows = []
    for backend in result.backends:
        phases = backend.phase_medians_ms()
        rows.append((backend.name, backend.backend, *(f"{phases[p]:.2f}" for p in PHASES)))
    return Table("Pipeline by phase, median ms", ("model", "backend", *PHASES), tuple(rows))


def _latency_cells(backend: BackendLatency) -> tuple[str, ...]:
    return (
        backend.name,
        backend.backend,
        *(_median(backend, scope) for scope in SCOPES),
        str(backend.speedups.get("model", "1 (first)")),
    )


def _accuracy_cell(accuracy: Accuracy | None, *, named: bool) -> str:
    """Box and, if any, mask headline, with its name where the column's rows differ in it."""
    if accuracy is None:
        return NOT_MEASURED
    name = accuracy.headline
    text = " / ".join(points(values[name]) for values in accuracy.kinds.values())
    return f"{name} {text}" if named else text


def _latency_warnings(result: Bench) -> list[str]:
    notes = []
    restless = [f"{b.name} ({b.warmup_calls} calls)" for b in result.backends if not b.warmed_up]
    if restless:
        notes.append(f"Not yet steady when the warm-up ended: {', '.join(restless)}.")
    throttled = sorted({why for state in result.clock_log for why in state.get("throttled", ())})
    if throttled:
        notes.append(f"The GPU was throttled during the run: {', '.join(throttled)}.")
    return notes


def _median(backend: BackendLatency, scope: str) -> str:
    if scope not in backend.summaries:
        return NOT_AVAILABLE
    return backend.summaries[scope].p50_text()
