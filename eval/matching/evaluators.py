"""The one place that chooses COCO's evaluator: faster-coco-eval where installed, else pycocotools.

Both give the same matches and, to 1e-15, the same averages; the first does it in C++. It keeps the
matches of a picture in objects of its own that only pickling opens, so the version is pinned to
those whose `__getstate__` is known here: (dtMatches, gtMatches, dtScores, gtIgnore, dtIgnore,
pairs), flat. Whatever else is installed is left alone.

Source: faster-coco-eval 1.8, csrc/faster_eval_api (after detectron2's COCOeval).
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ...runtime.errors import InputError, pip_line

FASTER, ORACLE = "faster-coco-eval", "pycocotools"
KNOWN_VERSIONS = "1.8."

Cell = dict[str, Any]
"""COCOeval's `evalImgs`: one class and size in one picture, with the keys that are read here."""
_NOTHING: Cell = {"dtMatches": [], "dtScores": [], "gtIgnore": [], "dtIgnore": []}


def evaluator_name() -> str:
    """What measures on this machine, for tables."""
    return ORACLE if faster() is None else FASTER


def faster() -> Any:
    """The module faster-coco-eval; None where it is not installed in a version that is known."""
    try:
        import faster_coco_eval
    except ImportError:
        return None
    known = str(faster_coco_eval.__version__).startswith(KNOWN_VERSIONS)
    return faster_coco_eval if known else None


def require_faster(what: str) -> None:
    """InputError where `what` cannot be measured because pycocotools alone is there."""
    if faster() is None:
        raise InputError(
            f"{what}: faster-coco-eval {KNOWN_VERSIONS}x is not installed; pycocotools has no such "
            f"measure. {pip_line('fast-eval')}."
        )


def coco_eval(truth: Any, results: Any, iou_type: str) -> Any:
    """An evaluator with pycocotools' `params`; `evaluate` and `accumulate` run it.

    Args:
        truth: `pycocotools.coco.COCO`.
        results: the same, of detections.
        iou_type: `bbox` or `segm`; `boundary` where faster-coco-eval is installed.
    """
    module = faster()
    if module is not None:
        return module.COCOeval_faster(
            truth, results, iou_type, print_function=_silent, separate_eval=True
        )
    from pycocotools.cocoeval import COCOeval

    return COCOeval(truth, results, iou_type)


def federated_eval(
    truth: dict[str, Any], rows: Sequence[dict[str, Any]], kind: Literal["box", "mask"]
) -> Any:
    """LVIS's evaluator, by faster-coco-eval; its `evaluate`, `accumulate`, `summarize` run it.

    Args:
        truth: a COCO data set, its pictures with `neg_category_ids` and
            `not_exhaustive_category_ids`, its categories with `frequency`.
        rows: detections, with a box or a mask alone.
        kind: what is compared.
    """
    module = faster()
    known = module.COCO(truth)
    return module.COCOeval_faster(
        known,
        known.loadRes([*rows]),
        {"box": "bbox", "mask": "segm"}[kind],
        lvis_style=True,
        print_function=_silent,
    )


def evaluate(evaluator: Any) -> list[Cell]:
    """Match its pictures; a class that a picture has nothing of has no cell."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
    if not _is_faster(evaluator):
        return [cell for cell in evaluator.evalImgs if cell is not None]
    params = evaluator.params
    categories = params.catIds if params.useCats else [-1]
    places = itertools.product(categories, params.areaRng, params.imgIds)
    found = zip(places, evaluator._evalImgs_cpp, strict=True)
    cells = [_cell(*place, image.__getstate__(), len(params.iouThrs)) for place, image in found]
    return [cell for cell in cells if len(cell["dtScores"]) or len(cell["gtIgnore"])]


def accumulate(evaluator: Any, cells: Sequence[Cell | None]) -> None:
    """Take its `stats` from matches.

    Args:
        evaluator: with `_paramsEval` set.
        cells: by category, size and picture; None where there is nothing.
    """
    if _is_faster(evaluator):
        evaluator._evalImgs_cpp = [_image(cell) for cell in cells]
    else:
        evaluator.evalImgs = cells
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
        evaluator.summarize()


def _is_faster(evaluator: Any) -> bool:
    from pycocotools.cocoeval import COCOeval

    return not isinstance(evaluator, COCOeval)


def _cell(
    category_id: int, area: Sequence[float], image_id: int, state: tuple[Any, ...], thresholds: int
) -> Cell:
    matches, _, scores, objects_ignored, ignored, _ = state
    by_iou = (thresholds, len(scores))
    return {
        "image_id": image_id,
        "category_id": category_id,
        "aRng": area,
        "dtScores": scores,
        "dtMatches": np.asarray(matches).reshape(by_iou),
        "dtIgnore": np.asarray(ignored).reshape(by_iou),
        "gtIgnore": objects_ignored,
    }


def _image(cell: Cell | None) -> Any:
    """The evaluator's own object of a cell; its accumulation looks at no pairs.

    Made as unpickling makes one: an object that `__init__` has seen would lose its state again.
    """
    from faster_coco_eval.faster_eval_api_cpp import ImageEvaluation

    image = ImageEvaluation.__new__(ImageEvaluation)
    flat = {name: np.ravel(value).tolist() for name, value in (cell or _NOTHING).items()}
    matches = [int(match) for match in flat["dtMatches"]]
    image.__setstate__((matches, [], flat["dtScores"], flat["gtIgnore"], flat["dtIgnore"], []))
    return image


def _silent(_: object) -> None:
    """In place of printing."""
