"""One artefact on one data set: its predictions and accuracy; and the hop from one to another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...runtime.contract import Contract, Precision
from ...runtime.errors import InputError
from ...runtime.files import sha256_of
from ...runtime.predictor import Predictor
from ..coco.accuracy import Accuracy, Kind, metric_of
from ..coco.ap import CocoPrecision, coco_ap
from ..coco.ar import CocoRecall, coco_ar
from ..coco.data import CocoData
from ..coco.matches import Matches
from ..coco.predictions import Prediction, predict_data
from ..matching.evaluators import evaluator_name
from .comparison import compare
from .gates import Hop, make_hop
from .intervals import change_intervals


@dataclass(frozen=True)
class Measurement:
    """What one artefact did on one data set."""

    accuracy: Accuracy
    matches: dict[Kind, Matches]
    """What its AP or AR was taken from, by picture."""
    predictions: list[Prediction]
    contract: Contract


def measure(predictor: Predictor, path: Path, data: CocoData) -> Measurement:
    """Predict every picture of `data` and take AP of instances or AR of proposals.

    `path` is the file that `predictor` runs.
    """
    predictions = predict_data(predictor, data)
    backend = str(predictor.session.backend)
    return measurement_of(predictions, predictor.contract, backend, path, data)


def measurement_of(
    predictions: list[Prediction], contract: Contract, backend: str, path: Path, data: CocoData
) -> Measurement:
    """The same of predictions that are there already, one for each picture of `data` in order."""
    accuracy = Accuracy(
        name=path.name,
        backend=backend,
        precision=contract.precision,
        sha256=sha256_of(path),
        images=len(data.images),
        box={},
        mask={},
        metric=metric_of(contract.task),
    )
    if contract.task == "proposals":
        recall = coco_ar(data, predictions)
        accuracy = with_recall(accuracy, recall)
        matches = dict[Kind, Matches](recall.matches)
    else:
        precision = coco_ap(data, predictions, contract.class_names)
        accuracy = with_precision(accuracy, precision)
        matches = dict[Kind, Matches](precision.matches)
    return Measurement(accuracy, matches, predictions, contract)


def with_recall(accuracy: Accuracy, recall: CocoRecall) -> Accuracy:
    """An accuracy with the numbers of its proposals."""
    values = recall.average
    return replace(
        accuracy,
        recalls=recall.curves,
        box=values["box"],
        mask=values["mask"],
        evaluator=evaluator_name(),
    )


def with_precision(accuracy: Accuracy, precision: CocoPrecision) -> Accuracy:
    """An accuracy with the numbers of its instances."""
    box, mask = precision.average["box"], precision.average.get("mask", {})
    return replace(
        accuracy, crowded=precision.crowded, box=box, mask=mask, evaluator=evaluator_name()
    )


def hop_between(reference: Measurement, candidate: Measurement, precision: Precision) -> Hop:
    """The parity of two measured artefacts under the gate of `precision`.

    Args:
        reference: the artefact believed right.
        candidate: the other, measured on the same pictures.
        precision: what the candidate's graph computes in, whatever its contract says.

    Raises:
        InputError: one gives instances and the other proposals, or boxes alone.
    """
    first, second = reference.accuracy, candidate.accuracy
    if reference.contract.task != candidate.contract.task:
        raise InputError(
            f"{second.name}: gives {candidate.contract.gives}, {first.name} "
            f"{reference.contract.gives}; only two models of one task can be compared. Name "
            "another reference."
        )
    parity = compare(
        reference.predictions,
        candidate.predictions,
        slots=candidate.contract.output("scores").shape[1],
        metric=second.metric,
        reference_values={"box": first.box, "mask": first.mask},
        candidate_values={"box": second.box, "mask": second.mask},
        intervals=change_intervals(reference.matches, candidate.matches),
        class_names=candidate.contract.class_names,
    )
    return make_hop(first.name, second.name, precision, parity)
