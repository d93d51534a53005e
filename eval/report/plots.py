"""The report's figures as inline SVG text that takes its colours from the page.

Drawn by matplotlib without its global state, text kept as text, and text and axis lines in
`currentColor`, so that one figure suits a dark and a light page and needs no file beside it.
Figures are narrow and names stand above their bars, so that a phone shows them whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..coco.accuracy import Accuracy
from ..coco.ar import RECALL_IOUS
from ..timing.latency import PHASES, BackendLatency, Bench
from .precision_map import PRECISIONS, PrecisionMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNUSED_ID = re.compile(r' id="[\w.]+_\d+"')
"""Of groups ("axes_1"), which nothing refers to and every figure of a page would have again."""
INK = "#010203"  # replaced by currentColor; no other mark uses it
HUES = ("#4c8eda", "#e0803a", "#43a66b", "#c95d8b", "#8b7bd8", "#b59a2b")
_PHASE_HUES = dict(zip(PHASES, ("#43a66b", "#4c8eda", "#e0803a"), strict=True))
_PRECISION_HUES = dict(zip(PRECISIONS, ("#b59a2b", "#4c8eda", "#43a66b", "#8b7bd8"), strict=True))
_WIDTH_IN, _ROW_IN, _FRAME_IN = 5.0, 0.62, 0.75
_CURVES_HEIGHT_IN = 2.9
_LETTERS = 55  # of 10 pt in a figure
_DOTS = 300  # per backend, at even distances over the run; the summary uses all samples
_SHOWN_UP_TO = 99.0  # percentile where the axis may end; dots beyond it sit on the edge


def latency_plot(result: Bench, scope: str) -> str:
    """Samples of one scope per backend: dots, median (long mark), p90 and p99 (short marks)."""
    shown = [backend for backend in result.backends if scope in backend.samples_ms]
    figure, axes = _rows_figure(len(shown))
    top = max(float(np.percentile(b.samples_ms[scope], _SHOWN_UP_TO)) for b in shown) * 1.08
    for row, backend in enumerate(shown):
        _latency_row(axes, row, backend, scope, top)
    _finish(axes, [_name(backend) for backend in shown], top)
    return svg_text(figure, f"latency-{scope}")


def phase_plot(result: Bench) -> str:
    """Median of each pipeline phase per backend, end to end."""
    figure, axes = _rows_figure(len(result.backends))
    top = 0.0
    for row, backend in enumerate(result.backends):
        start = 0.0
        for phase, median_ms in backend.phase_medians_ms().items():
            label = phase if row == 0 else "_nolegend_"
            axes.barh(row, median_ms, 0.34, start, color=_PHASE_HUES[phase], label=label)
            start += median_ms
        top = max(top, start * 1.04)
    _finish(axes, [_name(backend) for backend in result.backends], top)
    legend(axes, {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 3})
    return svg_text(figure, "phases")


def precision_plot(maps: Sequence[PrecisionMap]) -> str:
    """Each file's modules as they run, as wide as their share of its products, by precision."""
    figure, axes = _rows_figure(len(maps))
    for row, one in enumerate(maps):
        start, whole = 0.0, max(one.whole.total, 1)
        for module in one.modules:
            for precision, macs in module.macs.items():
                share = 100 * macs / whole
                hue = _PRECISION_HUES[precision]
                axes.barh(row, share, 0.34, start, color=hue, edgecolor=INK, linewidth=0.4)
                start += share
    for precision in PRECISIONS:
        if any(precision in one.whole.macs for one in maps):
            axes.barh(0, 0, color=_PRECISION_HUES[precision], label=precision.upper())
    _finish(axes, [_fitting(one.name) for one in maps], 100, "% of multiply-accumulates")
    legend(axes, {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 4})
    return svg_text(figure, "precision")


def recall_plot(accuracies: Sequence[Accuracy], name: str) -> str:
    """Recall over IoU of `AR@10`, `AR@100` or `AR@1000`: masks solid, boxes dashed.

    Artefacts that agree lie on each other, as hops should, so each line is thinner than the last.
    """
    height = _CURVES_HEIGHT_IN + 0.4 * len(accuracies)  # two lines of legend each
    figure, axes = new_figure(height)
    for row, accuracy in enumerate(accuracies):
        line: dict[str, Any] = {"color": HUES[row % len(HUES)], "linewidth": 1 + 4 * 0.6**row}
        for kind, dashes in (("mask", "-"), ("box", (0, (4, 3)))):
            curve = accuracy.recalls.get(kind, {}).get(name, [])
            axes.plot(RECALL_IOUS[: len(curve)], curve, linestyle=dashes, **line)
        label = f"{_fitting(accuracy.name)}\n({_fitting(accuracy.backend)})"
        axes.plot([], [], label=label, **line)
    axes.set_xlim(RECALL_IOUS[0], RECALL_IOUS[-1])
    axes.set_ylim(0, 100)
    axes.set_ylabel("recall, %", color=INK)
    style(axes, "IoU", ("bottom", "left"))
    legend(axes, {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)})
    return svg_text(figure, f"recall-{name}")


def new_figure(height_in: float) -> tuple[Any, Axes]:
    """An empty figure as wide as the others."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    return figure, figure.add_subplot()


def _rows_figure(rows: int) -> tuple[Any, Axes]:
    return new_figure(_FRAME_IN + _ROW_IN * rows)


def _latency_row(axes: Axes, row: int, backend: BackendLatency, scope: str, top: float) -> None:
    hue, flat = HUES[row % len(HUES)], backend.samples_ms[scope].ravel()
    dots = flat[np.linspace(0, flat.size - 1, min(_DOTS, flat.size)).round().astype(int)]
    jitter = np.random.default_rng(row).uniform(-0.16, 0.16, dots.size)
    axes.scatter(dots.clip(max=top), row + jitter, s=7, color=hue, alpha=0.45, linewidths=0)
    summary = backend.summaries[scope]
    axes.vlines(summary.p50_ms, row - 0.24, row + 0.24, color=INK, linewidth=2)
    axes.vlines([summary.p90_ms, summary.p99_ms], row - 0.12, row + 0.12, color=INK, linewidth=1)


def _finish(axes: Axes, names: list[str], top: float, unit: str = "ms") -> None:
    """Names above their rows, first row on top, an axis from zero to `top`."""
    for row, name in enumerate(names):
        axes.text(0, row - 0.3, name, color=INK, va="bottom", parse_math=False)
    axes.set_ylim(len(names) - 0.6, -0.75)
    axes.set_xlim(0, top)
    axes.set_yticks([])
    style(axes, unit, ("bottom",))


def style(axes: Axes, unit: str, sides: tuple[str, ...]) -> None:
    """Ink and axis lines as every figure has them."""
    axes.set_xlabel(unit, color=INK)
    axes.tick_params(colors=INK)
    axes.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in sides)
        spine.set_color(INK)


def legend(axes: Axes, place: dict[str, Any]) -> None:
    """Names of the lines in ink, without a frame."""
    box = axes.legend(frameon=False, **place)
    for text in box.get_texts():
        text.set_color(INK)
        text.set_parse_math(False)


def _name(backend: BackendLatency) -> str:
    return _fitting(f"{backend.name} ({backend.backend})")


def _fitting(name: str) -> str:
    """What does not fit in a figure loses its middle: names differ at their ends."""
    if len(name) <= _LETTERS:
        return name
    half = (_LETTERS - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def svg_text(figure: Any, salt: str) -> str:
    """The figure as it goes into a page; `salt` makes its ids the same each time."""
    import matplotlib as mpl

    figure.patch.set_visible(False)
    text = io.StringIO()
    silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 10}):
        figure.savefig(text, format="svg", metadata=silent)
    svg = text.getvalue()
    svg = _UNUSED_ID.sub("", svg[svg.index("<svg") :])
    return svg.replace(INK, "currentColor")
