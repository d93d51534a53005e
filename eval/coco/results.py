"""Predictions as the detections that COCOeval takes, and how they matched, by picture.

    predictions --evaluator_of--> COCOeval --match_tables--> MatchTable of each picture

Matching looks at one picture at a time, so tables of parts of a data set are those of the whole:
what COCOeval gives of all of them together (`accumulated`) does not depend on who matched.

Box rows carry no segmentation and mask rows no box: COCOeval takes small, medium and large from
the area of whatever a row holds, and masks must be classed by mask area. Source: detectron2's
COCO evaluator removes `bbox` for the same reason.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..matching.evaluators import Cell, accumulate, coco_eval, evaluate
from .accuracy import Kind
from .data import CocoData

Bool = npt.NDArray[np.bool_]

_IOU_TYPES = {"box": "bbox", "mask": "segm", "boundary": "boundary"}


@dataclass(frozen=True, eq=False)
class MatchTable:
    """D detections and G objects of one class and size in one picture, best first."""

    image_id: int
    category: int
    """Place of the class by rising category id; 0 where classes are not told apart."""
    area: int
    """Place of the size among COCOeval's: any, small, medium, large."""
    scores: npt.NDArray[np.float64]
    """(D,), no more than COCOeval's greatest limit of detections."""
    matched: Bool
    """(T, D) whether each has an object, at T thresholds of IoU."""
    ignored: Bool
    """(T, D) whether it counts for nothing, as on a crowd region."""
    objects_ignored: Bool
    """(G,) whether each object counts for nothing, as a crowd region or one of another size."""


def evaluator_of(
    data: CocoData,
    rows: Sequence[dict[str, Any]],
    kind: Kind | Literal["boundary"],
    image_ids: Sequence[int],
) -> Any:
    """A `COCOeval` of result rows over these pictures.

    Args:
        data: ground truth.
        rows: of `coco_rows`; none at all is allowed.
        kind: what is compared; "boundary", the masks near their edges, by faster-coco-eval alone.
        image_ids: the pictures to evaluate.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        results = _results(data, rows, kind)
    evaluator = coco_eval(data.truth, results, _IOU_TYPES[kind])
    evaluator.params.imgIds = sorted(image_ids)
    return evaluator


def _results(data: CocoData, rows: Sequence[dict[str, Any]], kind: str) -> Any:
    kept = rows_of_kind(rows, kind)
    if kept:
        return data.truth.loadRes(kept)
    from pycocotools.coco import COCO

    empty = COCO()  # loadRes looks at the first row, so no detections need an index of their own
    empty.dataset = {**data.truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def rows_of_kind(rows: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Result rows that hold a box alone, or a mask alone."""
    left_out = "segmentation" if kind == "box" else "bbox"
    return [{key: value for key, value in row.items() if key != left_out} for row in rows]


def match_tables(evaluator: Any) -> list[MatchTable]:
    """Match the pictures of an evaluator; a class that a picture has nothing of has no table."""
    cells = evaluate(evaluator)
    places = _places(evaluator)
    return [
        MatchTable(
            image_id=int(found["image_id"]),
            category=places.categories[found["category_id"]],
            area=places.areas[tuple(found["aRng"])],
            scores=np.asarray(found["dtScores"], np.float64),
            matched=np.asarray(found["dtMatches"]) > 0,
            ignored=np.asarray(found["dtIgnore"]) > 0,
            objects_ignored=np.asarray(found["gtIgnore"]) > 0,
        )
        for found in cells
    ]


def accumulated(evaluator: Any, tables: Iterable[MatchTable]) -> Any:
    """An evaluator whose pictures have been matched, here or elsewhere, with COCOeval's numbers.

    Args:
        evaluator: of all the pictures; its own detections are not looked at.
        tables: of `match_tables`, in any order.
    """
    params = evaluator.params
    params.imgIds = sorted({int(image_id) for image_id in params.imgIds})
    params.catIds, params.maxDets = sorted(set(params.catIds)), sorted(params.maxDets)
    evaluator._paramsEval = deepcopy(params)
    images = {image_id: place for place, image_id in enumerate(params.imgIds)}
    areas = len(params.areaRng)
    cells: list[Cell | None] = [None] * (len(params.catIds) * areas * len(images))
    for table in tables:
        place = (table.category * areas + table.area) * len(images) + images[table.image_id]
        cells[place] = {
            "dtScores": table.scores,
            "dtMatches": table.matched,
            "dtIgnore": table.ignored,
            "gtIgnore": table.objects_ignored,
        }
    accumulate(evaluator, cells)
    return evaluator


@dataclass(frozen=True)
class _Places:
    categories: dict[int, int]
    areas: dict[tuple[float, ...], int]


def _places(evaluator: Any) -> _Places:
    params = evaluator.params
    categories = list(params.catIds) if params.useCats else [-1]
    return _Places(
        {category_id: place for place, category_id in enumerate(categories)},
        {tuple(limits): place for place, limits in enumerate(params.areaRng)},
    )
