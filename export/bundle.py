"""One checkpoint as a bundle: a verified graph for each canvas, weights stored once.

Each graph is exported and verified as a single file is, on the bytes that stay: its weights are in
the shared file before it runs. The folder gets its name when all graphs are there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ..runtime.bundle import WEIGHTS
from ..runtime.bundle_folder import bundle_folder, write_index
from .shared_weights import SharedWeights
from .to_onnx import ExportReport

HW = tuple[int, int]
ExportOne = Callable[[Path, HW, SharedWeights], ExportReport]
"""Writes one graph: its path, canvas height and width, and where its weights go."""


def export_bundle(
    folder: Path, canvases: Sequence[HW], export_one: ExportOne
) -> list[ExportReport]:
    """Write a bundle; a bundle that is there already is replaced by a whole one.

    Args:
        folder: to make.
        canvases: height and width in pixels of each, no two equal; the first is opened first.
        export_one: exports the checkpoint at one canvas.

    Returns:
        What it told of each graph.

    Raises:
        InputError: `folder` is something else than a bundle, or cannot be written.
        Whatever `export_one` raises; the folder is then as it was.
    """
    with bundle_folder(folder) as made:
        weights = SharedWeights(made / WEIGHTS)
        reports = [export_one(made / f"{h}x{w}.onnx", (h, w), weights) for h, w in canvases]
        write_index(made, [(report.path, report.contract) for report in reports], weights.path)
    return [dataclasses.replace(report, path=folder / report.path.name) for report in reports]
