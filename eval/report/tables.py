"""The result tables as plain text cells, and their two plain renderings: terminal and Markdown.

The cells are made once, here; the HTML report renders the same `Table`, so the three never
disagree. A latency row shows the accuracy of the same file (by SHA-256) or says that it was not
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..coco.accuracy import GATED, HEADLINE, NAMES, NO_TRUTH, Accuracy, Metric
from ..machine.environment import has_gpu
from ..parity.gates import CHANGE_GATE, MATCH_IOU, MATCHED_GATE, SCORE_FLOOR, Hop
from ..timing.latency import PHASES, SCOPES, BackendLatency, Bench

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

NOT_MEASURED = "accuracy not measured"
NOT_AVAILABLE = "n/a"

_ACCURACY_TITLE: dict[Metric, str] = {"AP": "Accuracy", "AR": "Accuracy of proposals"}
_SIZES_NOTE = "s, m, l: objects below 32², below 96² and from 96² px; n/a: none of that size."
_ACCURACY_NOTE: dict[Metric, str] = {
    "AP": "COCO AP, 0-100, pycocotools, {images} pictures; " + _SIZES_NOTE,
    "AR": (
        "COCO AR, 0-100, pycocotools, {images} pictures, classes ignored: recall over IoU "
        "0.50:0.95 of the best 10, 100, 1000 proposals, or of all where a model gives fewer; of "
        "100 by size. " + _SIZES_NOTE
    ),
}
_HOP_TITLE: dict[Metric, str] = {
    "AP": "Accuracy hop by hop",
    "AR": "Accuracy of proposals hop by hop",
}
_PARTNER: dict[Metric, str] = {
    "AP": "has the same label and",
    "AR": "is of the same window and has",
}
_MATCHED_NOTE = (
    f"matched: share of instances scoring {SCORE_FLOOR} or more whose partner on the other side "
    f"{{partner}} box and mask IoU of at least {MATCH_IOU}; the worse direction of the "
    "two. Δbox px and Δscore: greatest change; IoU: mean mask IoU."
)
_CHANGES_NOTE = (
    "ΔAR: the greatest of the changes of AR@10, AR@100 and AR@1000; gates hold for each."
)
_GATE_NOTE = (
    f"Gates: FP32 |Δ{{metric}}| ≤ {CHANGE_GATE['fp32']} and {100 * MATCHED_GATE['fp32']} % "
    f"matched; FP16 |Δ{{metric}}| ≤ {CHANGE_GATE['fp16']}."
)
_LATENCY_NOTE = (
    "Milliseconds per call (batch {batch}), median of {calls} calls each, interleaved A B B A; "
    "± is half the 95 % bootstrap interval. engine: device in, device out; model: host bytes in, "
    "results on host; pipeline: decoded picture in, run-length masks out."
)
_SPEEDUP_NOTE = (
    "speed-up: first row's median over this row's, model scope, with its 95 % interval; in "
    "brackets where the interval includes 1."
)
_NO_GPU_NOTE = (
    "No NVIDIA GPU here: with one, this table gains rows for ONNX Runtime CUDA and for TensorRT "
    "FP32 and FP16, and the engine column."
)


@dataclass(frozen=True)
class Table:
    """A title, column names, rows of text cells and the sentences under the table."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    keys: int = 2
    """The first so many columns say what a row is about; the rest are its values."""


def accuracy_tables(accuracies: Sequence[Accuracy]) -> list[Table]:
    """A table of AP and one of AR, as far as there are such accuracies."""
    return [accuracy_table(group) for group in _by_metric(accuracies, lambda a: a.metric)]


def hop_tables(hops: Sequence[Hop]) -> list[Table]:
    """What each step from checkpoint to engine changed, and whether its gates hold, by metric."""
    return [hop_table(group) for group in _by_metric(hops, lambda hop: hop.parity.metric)]


def _by_metric(items: Sequence[T], metric_of: Callable[[T], Metric]) -> list[list[T]]:
    """The items of each metric in order, AP first; no empty group."""
    groups = [[item for item in items if metric_of(item) == metric] for metric in NAMES]
    return [group for group in groups if group]


def accuracy_table(accuracies: Sequence[Accuracy]) -> Table:
    """Boxes and masks, two rows per artefact, sizes included; one metric, at least one artefact."""
    metric = accuracies[0].metric
    rows = []
    for accuracy in accuracies:
        for kind, values in (("box", accuracy.box), ("mask", accuracy.mask)):
            cells = [_points(values[name]) for name in NAMES[metric]]
            rows.append((accuracy.name, accuracy.backend, kind, *cells))
    images = sorted({accuracy.images for accuracy in accuracies})
    return Table(
        title=_ACCURACY_TITLE[metric],
        columns=("model", "backend", "of", *NAMES[metric]),
        rows=tuple(rows),
        notes=(_ACCURACY_NOTE[metric].format(images=" and ".join(map(str, images))),),
    )


def hop_table(hops: Sequence[Hop]) -> Table:
    """Hops of one metric, at least one."""
    metric = hops[0].parity.metric
    return Table(
        title=_HOP_TITLE[metric],
        columns=(
            "hop",
            f"Δ{metric} box",
            f"Δ{metric} mask",
            "matched",
            "Δbox px",
            "Δscore",
            "IoU",
            "gate",
        ),
        rows=tuple(_hop_row(hop) for hop in hops),
        notes=(
            _MATCHED_NOTE.format(partner=_PARTNER[metric]),
            *([_CHANGES_NOTE] if len(GATED[metric]) > 1 else []),
            _GATE_NOTE.format(metric=metric),
            *(f"FAILED {h.reference} → {h.candidate}: {why}" for h in hops for why in h.failures),
        ),
        keys=1,
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
    notes += _latency_warnings(result)
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


def print_table(table: Table, console: Console) -> None:
    """Print a table with its notes on a rich console.

    Where a line would not fit, what the row is about stands on a line above its values, so names
    stay whole on 80 columns; a row about the same thing as the one above does not repeat it.
    """
    from rich.text import Text

    widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    stacked = sum(widths) + 2 * (len(widths) - 1) > console.width
    console.print(Text(table.title, style="bold"))
    console.print(Text(_line(table.columns, widths, table.keys, stacked), style="cyan"))
    above: tuple[str, ...] = ()
    for row in table.rows:
        keys = row[: table.keys]
        if stacked and keys != above:
            console.print(Text("  ".join(keys)), soft_wrap=True)
        shown = ("",) * table.keys + row[table.keys :] if keys == above else row
        text = Text(_line(shown, widths, table.keys, stacked))
        text.highlight_words(["FAILED"], "bold red")
        text.highlight_words(["passed"], "green")
        console.print(text, soft_wrap=True)
        above = keys
    for note in table.notes:
        console.print(Text(note, style="bold red" if note.startswith("FAILED") else "dim"))
    console.print()


def _line(cells: Sequence[str], widths: Sequence[int], keys: int, stacked: bool) -> str:
    pairs = list(zip(cells, widths, strict=True))
    names = [cell.ljust(width) for cell, width in pairs[:keys]]
    values = [cell.rjust(width) for cell, width in pairs[keys:]]
    return "  ".join(["", *values] if stacked else names + values)


def markdown(table: Table) -> str:
    """The table as GitHub Markdown, cells escaped, notes as paragraphs below."""
    lines = [
        f"### {table.title}",
        "",
        _markdown_row(table.columns),
        _markdown_row(["---"] * len(table.columns)),
        *(_markdown_row(row) for row in table.rows),
    ]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def _hop_row(hop: Hop) -> tuple[str, ...]:
    parity = hop.parity
    excused = f" ({parity.excused} ties)" if parity.excused else ""
    return (
        f"{hop.reference} → {hop.candidate}",
        _greatest(parity.box_changes),
        _greatest(parity.mask_changes),
        f"{100 * parity.matched:.2f} %{excused}",
        f"{parity.box_delta_max_px:.3f}",
        f"{parity.score_delta_max:.4f}",
        f"{parity.mask_iou_mean:.4f}",
        f"{hop.precision} {'FAILED' if hop.failures else 'passed'}",
    )


def _latency_cells(backend: BackendLatency) -> tuple[str, ...]:
    return (
        backend.name,
        backend.backend,
        *(_median(backend, scope) for scope in SCOPES),
        _speedup(backend),
    )


def _accuracy_cell(accuracy: Accuracy | None, *, named: bool) -> str:
    """Box and mask headline, with its name where the column's rows differ in it."""
    if accuracy is None:
        return NOT_MEASURED
    name = accuracy.headline
    text = f"{_points(accuracy.box[name])} / {_points(accuracy.mask[name])}"
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
    summary = backend.summaries[scope]
    return f"{summary.p50_ms:.2f} ± {(summary.p50_high_ms - summary.p50_low_ms) / 2:.2f}"


def _speedup(backend: BackendLatency) -> str:
    if "model" not in backend.speedups:
        return "1 (first)"
    ratio = backend.speedups["model"]
    text = f"{ratio.value:.2f}x {ratio.low:.2f}-{ratio.high:.2f}"
    return text if ratio.certain else f"({text})"


def _points(value: float) -> str:
    return NOT_AVAILABLE if value == NO_TRUTH else f"{value:.1f}"


def _greatest(changes: Mapping[str, float | None]) -> str:
    """The change farthest from zero."""
    known = [change for change in changes.values() if change is not None]
    return f"{max(known, key=abs):+.2f}" if known else NOT_AVAILABLE


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
