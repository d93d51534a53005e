"""Objects that read well and are probably wrong: they change a metric and nothing would say so.

The reader asks this of every split before a run begins, `maskrt data check` lists each object.
COCO's own files have a handful of such objects, so that a run is refused only from a share of
`MATTERS` on: fewer cannot move AP by more than that share, and are said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError

if TYPE_CHECKING:
    from ..coco.annotations import Annotation

Floats = npt.NDArray[np.float64]

MATTERS = 0.01
"""Share of a split's objects from which on a suspicion ends a run."""
SUSPICIONS = {
    "two corners": (
        "boxes reach beyond their picture as x, y, width, height and fit as two corners",
        "If they are corners, write x1 - x0 and y1 - y0 instead",
    ),
    "no area": ("objects have a box or a mask without an area", "Draw them again or remove them"),
    "outside": ("objects lie outside their picture", "Correct their place or remove them"),
    "box apart": (
        "boxes share less than half of their area with their mask's",
        "Make one of them again from the other",
    ),
    "twice": ("objects are there twice", "Remove one of each"),
}
"""What is said of each, and what to do."""
_LEAST_IOU = 0.5
_SLACK_PX = 2.0  # a box may be so much off, however small the object

_LOG = logging.getLogger(__name__)


def require_plausible(
    file: Path,
    annotations: Sequence[Annotation],
    sizes_hw: Mapping[int, tuple[int, int]],
    *,
    lenient: bool,
) -> None:
    """Refuse a split in which many objects are probably wrong; say it where they are few.

    Args:
        file: of the annotations, for the sentence.
        annotations: of the split.
        sizes_hw: of its pictures, by id.
        lenient: say it of many too.

    Raises:
        InputError: there are many, and nobody asked to be lenient.
    """
    for kind, places in suspects(annotations, sizes_hw).items():
        what, remedy = SUSPICIONS[kind]
        total, pictures = len(annotations), sorted({annotations[at].image_id for at in places})
        found = f"{len(places)} of {total} {what}, e.g. in picture {pictures[0]}"
        if lenient or len(places) < MATTERS * total:
            _LOG.warning("%s: %s. %s.", file, found, remedy)
            continue
        raise InputError(
            f"{file}: {found}; expected none, as they change a metric in silence. {remedy}; "
            "`maskrt data check` lists them, --lenient goes on."
        )


def suspects(
    annotations: Sequence[Annotation], sizes_hw: Mapping[int, tuple[int, int]]
) -> dict[str, list[int]]:
    """Places of the objects under each suspicion of `SUSPICIONS`, none where there is none.

    Crowds are regions, of which only the picture's edge and repetitions are asked.
    """
    if not annotations:
        return {}
    boxes = _corners(np.array([a.bbox for a in annotations], np.float64))
    masks = np.array([mask_box(a) for a in annotations], np.float64)
    sides = np.array([sizes_hw[a.image_id][::-1] for a in annotations], np.float64)  # (N, 2) w, h
    single = np.array([not a.iscrowd for a in annotations])
    corners = _two_corners(boxes, sides)
    flat = _is_flat(boxes) | _is_flat(masks)
    outside = ~flat & (_is_outside(boxes, sides) | _is_outside(masks, sides))
    apart = single & ~corners & ~flat & ~outside & _is_apart(boxes, masks, sides)
    found = {
        "two corners": corners,
        "no area": single & flat,
        "outside": outside,
        "box apart": apart,
        "twice": _repeated(annotations),
    }
    return {kind: np.flatnonzero(is_so).tolist() for kind, is_so in found.items() if is_so.any()}


def _corners(xywh: Floats) -> Floats:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def mask_box(annotation: Annotation) -> Sequence[float]:
    """The xyxy of what a mask covers, in pixels."""
    mask = annotation.segmentation
    if isinstance(mask, list):
        xs, ys = [part[::2] for part in mask], [part[1::2] for part in mask]
        least = min(map(min, xs)), min(map(min, ys))
        return *least, max(map(max, xs)), max(map(max, ys))
    x, y, width, height = _rle_box(mask)
    return x, y, x + width, y + height


def _rle_box(rle: dict[str, Any]) -> list[float]:
    from pycocotools import mask as coco_mask

    if isinstance(rle["counts"], list):
        rle = coco_mask.frPyObjects(rle, *rle["size"])
    box: list[float] = coco_mask.toBbox(rle).tolist()
    return box


def _two_corners(boxes: Floats, sides: Floats) -> npt.NDArray[np.bool_]:
    """Boxes written as x0, y0, x1, y1, the commonest mistake of converters: most are, or none."""
    start, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    beyond, fits = boxes[:, 2:] > sides, (start < size) & (size <= sides)  # (N, 2)
    suspect = (beyond[:, 0] | beyond[:, 1]) & fits[:, 0] & fits[:, 1]
    return suspect if 2 * suspect.sum() > len(boxes) else np.zeros_like(suspect)


def _is_flat(boxes: Floats) -> npt.NDArray[np.bool_]:
    return (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])


def _is_outside(boxes: Floats, sides: Floats) -> npt.NDArray[np.bool_]:
    outside = (boxes[:, 2:] <= 0) | (boxes[:, :2] >= sides)  # (N, 2)
    return outside[:, 0] | outside[:, 1]


def _is_apart(boxes: Floats, masks: Floats, sides: Floats) -> npt.NDArray[np.bool_]:
    """Whether box and mask, both cut at the picture's edge, are of different things."""
    limits = np.concatenate([sides, sides], axis=1)
    one, other = boxes.clip(0, limits), masks.clip(0, limits)
    both = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    shared = both.clip(0).prod(axis=1)
    union = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1)
    far = np.abs(one - other).max(axis=1) > _SLACK_PX
    apart: npt.NDArray[np.bool_] = far & (shared < _LEAST_IOU * (union - shared))
    return apart


def _repeated(annotations: Sequence[Annotation]) -> npt.NDArray[np.bool_]:
    """Those that an earlier one equals in all but its id."""
    seen: dict[tuple[int, int, tuple[float, ...]], list[Annotation]] = {}
    repeated = np.zeros(len(annotations), np.bool_)
    for place, annotation in enumerate(annotations):
        alike = seen.setdefault((annotation.image_id, annotation.category_id, annotation.bbox), [])
        repeated[place] = any(annotation.segmentation == one.segmentation for one in alike)
        alike.append(annotation)
    return repeated
