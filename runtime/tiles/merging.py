"""Instances of overlapping views as those of one picture: each object once, as who saw it whole.

    1. Views of tiles that a border inside the picture does not cut, best score first.
    2. What the view of the whole picture has, for objects larger than a tile.
    3. Views that a border cuts.

In this order each instance kept takes away those of its label, of other views and after it, whose
mask is the same object: mask IoU above `SAME_IOU`, or for a cut one this share of its own mask.
One view's own instances never take each other away: the network's NMS has seen them.

Masks are COCO run lengths of the picture, made from crops; no full mask is ever held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import SessionError, pip_line
from ..results.instances import Instances

SAME_IOU = 0.5
"""Two masks of one object; also the share of a cut mask that lies in another one."""

Index = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class View:
    """What was found in one tile, or with `rank` 1 in the whole picture."""

    instances: Instances
    """In pixels of the picture."""
    cut: npt.NDArray[np.bool_]
    """(N,) whether a border inside the picture cuts it."""
    rank: int = 0

    @property
    def ranks(self) -> npt.NDArray[np.int64]:
        """(N,) place of each one in the order above."""
        return np.where(self.cut, 2, self.rank)


def moved(found: Instances, top: int, left: int, image_hw: tuple[int, int]) -> Instances:
    """Instances of a tile as those of the picture that it is from; `top`, `left` in pixels."""
    shift = np.array((left, top, left, top), dtype=np.float32)
    frames = None if found.frames is None else found.frames + shift
    return dataclasses.replace(found, image_hw=image_hw, boxes=found.boxes + shift, frames=frames)


def merged(views: Sequence[View]) -> Instances:
    """The instances of one picture, best first.

    Args:
        views: at least one; of the same network.

    Raises:
        SessionError: pycocotools is not installed.
    """
    everything = joined([view.instances for view in views])
    ranks = np.concatenate([view.ranks for view in views])
    owners = np.repeat(np.arange(len(views)), [len(view.instances) for view in views])
    kept = _kept(everything, ranks, owners)
    return everything[kept[np.argsort(-everything.scores[kept], kind="stable")]]


def joined(parts: Sequence[Instances]) -> Instances:
    """All of them, in order."""
    first = parts[0]

    def together(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    names = ("boxes", "scores", "labels", "mask_probs", "frames")
    return dataclasses.replace(first, **{name: together(name) for name in names})


def _kept(found: Instances, ranks: npt.NDArray[np.int64], owners: Index) -> Index:
    masks = _Masks(found)
    left = np.lexsort((-found.scores, ranks))
    kept: list[int] = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(int(best))
        others = (found.labels[rest] == found.labels[best]) & (owners[rest] != owners[best])
        near = np.flatnonzero(others & masks.touch(best, rest))
        same = masks.same(best, rest[near], ranks[rest[near]] == 2)
        left = np.delete(rest, near[same])
    return np.array(kept, dtype=np.intp)


class _Masks:
    """Which instances are the same object, by mask, or by box where there are no masks."""

    def __init__(self, found: Instances) -> None:
        try:
            from pycocotools import mask
        except ImportError as err:
            raise SessionError(
                f"tiles: pycocotools is not installed; merging masks needs it. {pip_line('cpu')}."
            ) from err
        self._coco_mask, self._boxes = mask, found.boxes
        self._rles = None if found.mask_probs is None else found.rles()

    def touch(self, one: np.intp, others: Index) -> npt.NDArray[np.bool_]:
        """(M,) whether boxes overlap."""
        low = np.maximum(self._boxes[one, :2], self._boxes[others, :2])
        high = np.minimum(self._boxes[one, 2:], self._boxes[others, 2:])
        return np.asarray((high > low).all(axis=1))

    def same(
        self, one: np.intp, others: Index, cut: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """(M,) whether they are the object of `one`; `cut` says which are judged by their share."""
        if not len(others):
            return np.zeros(0, dtype=np.bool_)
        iou, share = self._overlap(one, others, 0), self._overlap(one, others, 1)
        return np.asarray(np.where(cut, np.maximum(iou, share), iou) > SAME_IOU)

    def _overlap(self, one: np.intp, others: Index, crowd: int) -> npt.NDArray[np.float64]:
        """(M,) IoU with `one`; with `crowd` 1 the share of each that lies in it, as COCO counts."""
        if self._rles is None:
            boxes = self._boxes.astype(np.float64)
            xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
            found = self._coco_mask.iou(xywh[others], xywh[[one]], [crowd])
        else:
            rles = [self._rles[index] for index in others]
            found = self._coco_mask.iou(rles, [self._rles[one]], [crowd])
        return np.asarray(found, dtype=np.float64)[:, 0]
