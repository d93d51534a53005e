"""Accuracy of artefacts on one data set, and the gate between two of them."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .open import model_ref, open_model

if TYPE_CHECKING:
    from pathlib import Path

    from ..eval import Accuracy, CocoData, Hop, Measurement
    from ..export.precision.headroom import Headroom
    from ..runtime.sessions.open import ModelRef

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
    """Of an FP16 ONNX file, how near its tensors come to the end of FP16."""


def evaluate(
    model: str | Path | ModelRef, data: CocoData, against: str | Path | ModelRef | None = None
) -> Evaluation:
    """COCO AP (AR of proposals) of a model, and its parity with a reference.

    Raises:
        InputError: the two are of different tasks, or a file is not usable.
        SessionError: a model cannot run on this machine.
    """
    candidate = measured(model_ref(model), data)
    headroom = _headroom(model_ref(model), candidate, data)
    if against is None:
        return Evaluation((candidate.accuracy,), None, headroom)
    reference = measured(model_ref(against), data)
    accuracies = (reference.accuracy, candidate.accuracy)
    hop = measured_hop(reference, candidate, model_ref(model).path)
    return Evaluation(accuracies, hop, headroom)


def measured_hop(reference: Measurement, candidate: Measurement, path: Path) -> Hop:
    """The hop to `candidate`, under the gate of what its file at `path` computes in."""
    from ..eval import hop_between
    from .graph_precision import graph_precision

    return hop_between(reference, candidate, graph_precision(path))


def _headroom(model: ModelRef, measurement: Measurement, data: CocoData) -> Headroom | None:
    """Of an FP16 file that ONNX Runtime ran, over the first pictures; None of anything else."""
    session = model.session or "onnxruntime"
    is_onnx = model.path.suffix.lower() == ".onnx" and session.startswith("onnxruntime")
    if measurement.contract.precision != "fp16" or not is_onnx:
        return None
    from ..eval import read_record
    from ..export.precision.headroom import measure_headroom

    first = [read_record(record) for record in data.images[:HEADROOM_PICTURES]]
    return measure_headroom(model.path, first)


def measured(model: ModelRef, data: CocoData) -> Measurement:
    """Open one artefact and measure it on `data`.

    ONNX Runtime's CPU provider computes FP16 files in FP32; their accuracy is taken from a copy
    that rounds every FP16 tensor (`export/precision/emulation.py`), and the table says so.
    """
    from ..eval import measure

    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(open_model(model))
        ran = predictor.session.backend
        backend = str(ran)
        on_cpu = (ran.runtime, ran.device) == ("onnxruntime", "cpu")
        if on_cpu and predictor.contract.precision == "fp16":
            from ..export.precision.emulation import emulated_file

            copy = stack.enter_context(emulated_file(model.path))
            emulated = dataclasses.replace(model, path=copy)
            predictor = stack.enter_context(open_model(emulated))
            backend = f"{backend}, FP16 emulated"
        result = measure(predictor, model.path, data)
        accuracy = dataclasses.replace(result.accuracy, name=model.name, backend=backend)
        return dataclasses.replace(result, accuracy=accuracy)
