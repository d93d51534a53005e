"""One artefact on one data set: its predictions and AP; and the hop from one such to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..runtime.contract import Contract
from ..runtime.files import sha256_of
from ..runtime.predictor import Predictor
from .coco_ap import Accuracy, coco_ap
from .coco_data import CocoData
from .parity import Hop, compare, make_hop
from .predictions import Prediction, predict_data


@dataclass(frozen=True)
class Measurement:
    """What one artefact did on one data set."""

    accuracy: Accuracy
    predictions: list[Prediction]
    contract: Contract


def measure(predictor: Predictor, path: Path, data: CocoData) -> Measurement:
    """Predict every picture of `data` and take the AP; `path` is the file `predictor` runs."""
    predictions = predict_data(predictor, data)
    contract = predictor.contract
    ap = coco_ap(data, predictions, contract.class_names)
    accuracy = Accuracy(
        path.name,
        predictor.session.backend,
        contract.precision,
        sha256_of(path),
        len(data.images),
        ap["box"],
        ap["mask"],
    )
    return Measurement(accuracy, predictions, contract)


def hop_between(reference: Measurement, candidate: Measurement) -> Hop:
    """The parity of two measured artefacts under the candidate's gate."""
    first, second = reference.accuracy, candidate.accuracy
    parity = compare(
        reference.predictions,
        candidate.predictions,
        slots=candidate.contract.output("scores").shape[1],
        reference_ap={"box": first.box, "mask": first.mask},
        candidate_ap={"box": second.box, "mask": second.mask},
    )
    return make_hop(first.name, second.name, candidate.contract.precision, parity)
