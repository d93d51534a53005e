"""Curves of a training run as inline SVG: its losses, and the accuracy of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .plots import HUES, INK, legend, new_figure, style, svg_text

_HEIGHT_IN = 3.2
_SMOOTHED = 9
"""Logged losses averaged around each point of the strong line; the points stand behind it."""


def losses_plot(steps: Sequence[int], losses: Mapping[str, Sequence[float]]) -> str:
    """Each loss over the steps at which it was logged, on a logarithmic axis."""
    figure, axes = new_figure(_HEIGHT_IN)
    for row, (name, values) in enumerate(losses.items()):
        hue, points = HUES[row % len(HUES)], np.maximum(values, 1e-6)
        axes.plot(steps, points, color=hue, linewidth=0.5, alpha=0.4)
        axes.plot(steps, _smooth(points), color=hue, linewidth=1.5, label=name)
    axes.set_yscale("log")
    style(axes, "step", ("bottom", "left"))
    legend(axes, {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 3})
    return svg_text(figure, "losses")


def accuracy_plot(rows: Mapping[int, Mapping[str, float]], best: int) -> str:
    """Accuracy in [0, 100] of each evaluation by name, the best one marked."""
    figure, axes = new_figure(_HEIGHT_IN)
    for row, name in enumerate(rows[best]):
        values = [max(measured[name], 0.0) for measured in rows.values()]  # no truth: -1
        axes.plot([*rows], values, "o-", color=HUES[row], markersize=3, label=_spoken(name))
    axes.axvline(best, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label=f"best: step {best}")
    axes.set_ylim(bottom=0)
    style(axes, "step", ("bottom", "left"))
    legend(axes, {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 3})
    return svg_text(figure, "accuracy")


def _smooth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A running mean of `_SMOOTHED`, of fewer at both ends."""
    window = np.ones(min(_SMOOTHED, len(values)))
    total = np.convolve(values, window, "same")
    return np.asarray(total / np.convolve(np.ones(len(values)), window, "same"))


def _spoken(name: str) -> str:
    """As people write it: mask AP of "mask_ap", box AR@100 of "box_ar_100"."""
    kind, metric, *limit = name.split("_")
    return " ".join((kind, "@".join([metric.upper(), *limit])))
