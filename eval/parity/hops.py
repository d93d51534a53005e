"""One artefact on one data set: its predictions and accuracy; and the hop from one to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ...runtime.files import sha256_of
from ...runtime.predictor import Predictor
from ..coco.accuracy import Accuracy, Values, metric_of
from ..coco.ap import coco_ap
from ..coco.ar import coco_ar
from ..coco.data import CocoData
from ..coco.predictions import Prediction, predict_data
from .gates import Hop, compare, make_hop


@dataclass(frozen=True)
class Measurement:
    """What one artefact did on one data set."""

    accuracy: Accuracy
    predictions: list[Prediction]
    contract: Contract


def measure(predictor: Predictor, path: Path, data: CocoData) -> Measurement:
    """Predict every picture of `data` and take AP of instances or AR of proposals.

    `path` is the file that `predictor` runs.
    """
    predictions = predict_data(predictor, data)
    contract = predictor.contract
    values, recalls = _accuracy(data, predictions, contract)
    accuracy = Accuracy(
        name=path.name,
        backend=str(predictor.session.backend),
        precision=contract.precision,
        sha256=sha256_of(path),
        images=len(data.images),
        box=values["box"],
        mask=values["mask"],
        metric=metric_of(contract.task),
        recalls=recalls,
    )
    return Measurement(accuracy, predictions, contract)


def _accuracy(
    data: CocoData, predictions: list[Prediction], contract: Contract
) -> tuple[Values, dict[str, dict[str, list[float]]]]:
    if contract.task == "proposals":
        recall = coco_ar(data, predictions)
        return recall.average, recall.curves
    return coco_ap(data, predictions, contract.class_names), {}


def hop_between(reference: Measurement, candidate: Measurement) -> Hop:
    """The parity of two measured artefacts under the candidate's gate.

    Raises:
        InputError: one gives instances and the other proposals.
    """
    first, second = reference.accuracy, candidate.accuracy
    if first.metric != second.metric:
        raise InputError(
            f"{second.name}: measured by {second.metric}, {first.name} by {first.metric}; only two "
            "models of one task can be compared. Name another reference."
        )
    parity = compare(
        reference.predictions,
        candidate.predictions,
        slots=candidate.contract.output("scores").shape[1],
        metric=second.metric,
        reference_values={"box": first.box, "mask": first.mask},
        candidate_values={"box": second.box, "mask": second.mask},
    )
    return make_hop(first.name, second.name, candidate.contract.precision, parity)
