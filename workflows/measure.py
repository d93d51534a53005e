"""Accuracy of artefacts on one data set, and the gate between two of them."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..runtime.bundle import INDEX, graph_paths, read_bundle
from ..runtime.bundle_predictor import BundlePredictor
from ..runtime.errors import InputError
from ..runtime.tiles.grid import asked_tiles
from ..runtime.tiles.predictor import TiledPredictor
from .explanation import Explanation, explain
from .open import model_ref, open_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..eval import Accuracy, CocoData, Hop, Measurement
    from ..export.precision.headroom import Headroom
    from ..runtime.contract import Contract
    from ..runtime.predictor import Predictor
    from ..runtime.sessions.open import ModelRef
    from ..runtime.tiles.grid import TileSize

HEADROOM_PICTURES = 16
"""A run of each costs as much as its evaluation, and the greatest values differ little."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured."""

    accuracies: tuple[Accuracy, ...]
    """The reference's first where there is one."""
    hop: Hop | None
    """From the reference to the model; its `failures` say which gates failed."""
    headroom: Headroom | None = None
    """Of an ONNX file with FP16 in it, how near its tensors come to the end of FP16."""
    lost: str | None = None
    """How many pictures lost how many pixels to the model's canvas, in a sentence."""
    explanation: Explanation | None = None
    """What moved most from the reference to the model, where that was asked for."""


def evaluate(
    model: str | Path | ModelRef,
    data: CocoData,
    against: str | Path | ModelRef | None = None,
    explain_in: Path | None = None,
    boundary: bool = False,
    lvis: bool = False,
    tiles: int | None = None,
    tile_overlap: int | None = None,
) -> Evaluation:
    """COCO AP (AR of proposals) of a model, and its parity with a reference.

    With `boundary` accuracies have boundary AP too, with `lvis` LVIS's federated AP. With
    `explain_in`, a folder, what moved most between the two is found and drawn there. With `tiles`
    both look at overlapping tiles of so many pixels a side (`TiledPredictor`), which overlap by
    `tile_overlap`, None is a fifth.

    Raises:
        InputError: the two are of different tasks, a file is not usable, `explain_in` without a
            reference, or tiles that cannot be.
        SessionError: a model cannot run on this machine.
    """
    if explain_in is not None and against is None:
        raise InputError(
            f"eval: --explain {explain_in} without --against found; expected both, as two models "
            "are held against each other. Name the other model."
        )
    size = asked_tiles(tiles, tile_overlap)
    candidate = measured(model_ref(model), data, size)
    candidate = _with_more(candidate, data, boundary, lvis)
    headroom = _headroom(model_ref(model), candidate, data)
    lost = _lost(model_ref(model), candidate, data, size)
    if against is None:
        return Evaluation((candidate.accuracy,), None, headroom, lost)
    reference = measured(model_ref(against), data, size)
    reference = _with_more(reference, data, boundary, lvis)
    accuracies = (reference.accuracy, candidate.accuracy)
    hop = measured_hop(reference, candidate, model_ref(model).path)
    explanation = None
    if explain_in is not None:
        paths = model_ref(against).path, model_ref(model).path
        explanation = explain(reference, candidate, paths, data, explain_in)
    return Evaluation(accuracies, hop, headroom, lost, explanation)


def _with_more(measurement: Measurement, data: CocoData, boundary: bool, lvis: bool) -> Measurement:
    """With the measures that were asked for beside COCO's."""
    from ..eval.coco.ap import boundary_ap
    from ..eval.matching.lvis import lvis_ap

    asked = [name for name, is_asked in (("--boundary", boundary), ("--lvis", lvis)) if is_asked]
    contract, accuracy = measurement.contract, measurement.accuracy
    if asked and contract.task == "proposals":
        raise InputError(
            f"eval: {asked[0]} of {contract.gives} found; expected a model of instances, whose "
            "measure is AP. Leave it away."
        )
    found = data, measurement.predictions, contract.class_names
    if boundary:
        accuracy = dataclasses.replace(accuracy, boundary=boundary_ap(*found))
    if lvis:
        accuracy = dataclasses.replace(accuracy, lvis=lvis_ap(*found))
    return dataclasses.replace(measurement, accuracy=accuracy)


def measured_hop(reference: Measurement, candidate: Measurement, path: Path) -> Hop:
    """The hop to `candidate`, under the gate of what its file at `path` computes in."""
    from ..eval import hop_between
    from .graph_precision import graph_precision

    return hop_between(reference, candidate, graph_precision(path))


def _headroom(model: ModelRef, measurement: Measurement, data: CocoData) -> Headroom | None:
    """Of a file with FP16 that ONNX Runtime ran, over the first pictures; None of anything else.

    Of a bundle its first graph: all have the same weights.
    """
    path = graph_paths(model.path)[0]
    session = model.session or "onnxruntime"
    is_onnx = path.suffix.lower() == ".onnx" and session.startswith("onnxruntime")
    if not measurement.contract.has_half or not is_onnx:
        return None
    from ..eval import read_record
    from ..export.precision.headroom import measure_headroom

    first = [read_record(record) for record in data.images[:HEADROOM_PICTURES]]
    return measure_headroom(path, first)


def _lost(
    model: ModelRef, measurement: Measurement, data: CocoData, tiles: TileSize | None
) -> str | None:
    contract = measurement.contract
    is_index = model.path.name == INDEX
    canvases = read_bundle(model.path).canvases if is_index else (contract.canvas_hw,)
    return lost_to_canvases(contract, canvases, data, tiles)


def lost_to_canvases(
    contract: Contract,
    canvases: tuple[tuple[int, int], ...],
    data: CocoData,
    tiles: TileSize | None = None,
) -> str | None:
    """What the pictures, or their tiles, lost to a model's canvases, as it is told."""
    from ..runtime.pictures.canvases import CanvasLosses

    losses = CanvasLosses(contract.resize, canvases)
    for record in data.images:
        losses.add(record.image_hw if tiles is None else tiles.looked_at(record.image_hw))
    return losses.sentence


def measured(model: ModelRef, data: CocoData, tiles: TileSize | None = None) -> Measurement:
    """Open one artefact and measure it on `data`, in tiles where those are given.

    ONNX Runtime's CPU provider computes FP16 and FP8 in FP32; the accuracy of files with either is
    taken from a copy that rounds as they do (`export/precision/emulation.py`), and the table says
    so.
    """
    from ..eval import measure

    with opened_to_measure(model, tiles) as (predictor, backend):
        result = measure(predictor, model.path, data)
    accuracy = dataclasses.replace(result.accuracy, name=model.name, backend=backend)
    return dataclasses.replace(result, accuracy=accuracy)


@contextlib.contextmanager
def opened_to_measure(
    model: ModelRef, tiles: TileSize | None = None
) -> Iterator[tuple[Predictor, str]]:
    """A model opened as it is measured, and what tables call what runs it."""
    with contextlib.ExitStack() as stack:
        if model.path.name == INDEX:
            predictor: Predictor = BundlePredictor(
                model.path, lambda file: _rounding(dataclasses.replace(model, path=file), stack)
            )
        else:
            predictor = _rounding(model, stack)
        stack.enter_context(predictor)
        precision = predictor.contract.precision.upper()
        emulated = f", {precision} emulated" if _is_emulated(predictor) else ""
        backend = f"{predictor.session.backend}{emulated}"
        if tiles is not None:
            predictor = TiledPredictor(predictor, tiles.side_px, tiles.overlap_px)
            backend += f", tiles of {tiles.side_px} px"
        yield predictor, backend


def _rounding(model: ModelRef, stack: contextlib.ExitStack) -> Predictor:
    """The file opened, or where a CPU would compute it in FP32 a copy that rounds."""
    predictor = open_model(model)
    if not _is_emulated(predictor):
        return predictor
    from ..export.precision.emulation import emulated_file

    predictor.close()
    copy = stack.enter_context(emulated_file(model.path))
    return open_model(dataclasses.replace(model, path=copy))


def _is_emulated(predictor: Predictor) -> bool:
    """Whether ONNX Runtime's CPU provider has such a file, which the copy says that it is too."""
    ran = predictor.session.backend
    on_cpu = (ran.runtime, ran.device, ran.precision) == ("onnxruntime", "cpu", "fp32")
    return on_cpu and predictor.contract.is_emulated_on_cpu
