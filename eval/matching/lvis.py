"""LVIS's federated average precision: of boxes and masks, and by how often a class is.

Nobody looked for a thousand classes in every picture. A class counts in the pictures that hold it
and in those known to be without it (`neg_category_ids`); elsewhere its detections are left out.
Where not all of its objects were drawn (`not_exhaustive_category_ids`), a detection without an
object is no mistake. The best 300 detections of a picture are looked at.

Source: Gupta et al. 2019, LVIS, arXiv 1908.03195; its files, lvisdataset.org.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

from ...runtime.errors import InputError
from ..coco.accuracy import LVIS_NAMES, NO_TRUTH, Kind, Values
from ..coco.data import CocoData, category_ids_for
from ..coco.predictions import Prediction, coco_rows, kinds_of
from ..coco.results import rows_of_kind
from ..datasets.layout import CocoPart
from .evaluators import federated_eval, require_faster

MOST_DETECTIONS = 300
_STATS = ("AP_all", "AP_50", "AP_75", "AP_small", "AP_medium", "AP_large", "APr", "APc", "APf")
"""Of the evaluator, in the order of `LVIS_NAMES`."""
_FIELDS = ("neg_category_ids", "not_exhaustive_category_ids")
_FREQUENCIES = ("r", "c", "f")


def lvis_ap(
    data: CocoData, predictions: Sequence[Prediction], class_names: Sequence[str] | None = None
) -> Values:
    """AP by kind and by `LVIS_NAMES` in [0, 100]; `NO_TRUTH` where there is none.

    Arguments as `coco_ap`.

    Raises:
        InputError: as `coco_ap`, the data is not LVIS's, or faster-coco-eval is not installed.
    """
    require_faster("LVIS AP")
    category_ids = category_ids_for(data, class_names or data.class_names, "the predictions")
    dataset = federated(data)
    image_ids = sorted(prediction.image_id for prediction in predictions)
    best = [coco_rows([one], category_ids)[:MOST_DETECTIONS] for one in predictions]
    searched = _searched(dataset)
    rows = [
        row for row in chain.from_iterable(best) if row["category_id"] in searched[row["image_id"]]
    ]
    return {kind: _of_kind(dataset, rows, kind, image_ids) for kind in kinds_of(predictions)}


def _searched(dataset: dict[str, Any]) -> dict[int, set[int]]:
    """Classes that count in each picture.

    The evaluator leaves the others' detections out too, and ends with an IndexError where a picture
    has no object and none of its masks is kept (faster-coco-eval 1.8.0).
    """
    found = {image["id"]: set(image["neg_category_ids"]) for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        found[annotation["image_id"]].add(annotation["category_id"])
    return found


def _of_kind(
    dataset: dict[str, Any], rows: Sequence[dict[str, Any]], kind: Kind, image_ids: list[int]
) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = federated_eval(dataset, rows_of_kind(rows, kind), kind)
        evaluator.params.imgIds = image_ids
        evaluator.params.maxDets = [MOST_DETECTIONS]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    found = evaluator.stats_as_dict
    values = [float(found[name]) for name in _STATS]
    return {
        name: NO_TRUTH if value < 0 else 100.0 * value
        for name, value in zip(LVIS_NAMES, values, strict=True)
    }


def federated(data: CocoData) -> dict[str, Any]:
    """The ground truth with what LVIS's file says of pictures and classes.

    Raises:
        InputError: the file says nothing of it.
    """
    part = data.found.part
    raw = json.loads(part.file.read_bytes()) if isinstance(part, CocoPart) else {}
    said = {row["id"]: row for row in raw.get("images", ())}
    often = {row["id"]: row.get("frequency") for row in raw.get("categories", ())}
    known = data.truth.dataset
    for category in known["categories"]:
        if often.get(category["id"]) not in _FREQUENCIES:
            raise _no_lvis(data, f"class {category['name']!r} has no frequency of r, c or f")
    return {
        **known,
        "images": [
            {**image, **{field: _ids(data, said.get(image["id"], {}), field) for field in _FIELDS}}
            for image in known["images"]
        ],
        "categories": [
            {**category, "frequency": often[category["id"]]} for category in known["categories"]
        ],
    }


def _ids(data: CocoData, picture: dict[str, Any], field: str) -> list[int]:
    value = picture.get(field)
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        raise _no_lvis(data, f"picture {picture.get('id', '')} has no list of ids in {field}")
    return value


def _no_lvis(data: CocoData, found: str) -> InputError:
    return InputError(
        f"{data.folder}: {found}; expected LVIS's annotations, which say in which pictures a class "
        "was looked for. Leave --lvis away, or name such a file with --annotations."
    )
