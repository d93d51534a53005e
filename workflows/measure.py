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
    from ..runtime.sessions.open import ModelRef


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured."""

    accuracies: tuple[Accuracy, ...]
    """The reference's first where there is one."""
    hop: Hop | None
    """From the reference to the model; its `failures` say which gates failed."""


def evaluate(
    model: str | Path | ModelRef, data: CocoData, against: str | Path | ModelRef | None = None
) -> Evaluation:
    """COCO AP (AR of proposals) of a model, and its parity with a reference.

    Raises:
        InputError: the two are of different tasks, or a file is not usable.
        SessionError: a model cannot run on this machine.
    """
    from ..eval import hop_between

    candidate = measured(model_ref(model), data)
    if against is None:
        return Evaluation((candidate.accuracy,), None)
    reference = measured(model_ref(against), data)
    accuracies = (reference.accuracy, candidate.accuracy)
    return Evaluation(accuracies, hop_between(reference, candidate))


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
