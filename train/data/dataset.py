"""Labelled pictures with their instances, as the annotations give them.

    eval's read_split -> CocoInstances -> Sample -> augment -> Sample -> batches.loader -> Batch

Source: Wu et al., detectron2 data/ @02b5c4e, for which annotations count.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from torch.utils.data import Dataset

from ...eval.coco.annotations import CocoSplit, read_split
from ...eval.coco.data import name_difference
from ...eval.coco.pictures import read_record, require_pictures
from ...eval.coco.segmentations import Segmentation
from ...eval.datasets.finding import Found
from ...eval.datasets.source import DataSource, Split
from ...runtime.errors import InputError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One picture and its instances, all in the picture's own pixels."""

    image: Bytes
    """(H, W, 3) uint8 RGB."""
    boxes: Floats
    """(N, 4) float32 xyxy, inside the picture, each with an area."""
    labels: npt.NDArray[np.int64]
    """(N,) contiguous 0..C-1."""
    iscrowd: npt.NDArray[np.bool_]
    """(N,) true for a region of many objects, which is no example of one."""
    segmentations: tuple[Segmentation, ...]
    """N raw segmentations; `masks` rasterizes them."""
    image_id: int
    room_hw: tuple[int, int] = (0, 0)
    """Least height and width of its canvas: more than the picture's where it was made smaller."""

    def masks(self) -> Bytes:
        """(N, H, W) uint8, 1 inside; rasterized anew at every call."""
        size_hw = self.image.shape[:2]
        if not self.segmentations:
            return np.zeros((0, *size_hw), np.uint8)
        rles = [rle_of(s, size_hw) for s in self.segmentations]
        # pycocotools gives (H, W, N) in Fortran order
        return np.ascontiguousarray(coco_mask.decode(rles).transpose(2, 0, 1))

    def only(self, places: Sequence[int]) -> Sample:
        """The same picture with those of its instances, in that order."""
        return dataclasses.replace(
            self,
            boxes=self.boxes[places],
            labels=self.labels[places],
            iscrowd=self.iscrowd[places],
            segmentations=tuple(self.segmentations[place] for place in places),
        )


class CocoInstances(Dataset[Sample]):
    """The pictures of one split, in order of image id; `dataset[i]` decodes a `Sample`."""

    def __init__(self, data: Path | DataSource, split: Split) -> None:
        """Read the annotations of `split` of `data` and look at its pictures.

        Objects without a box inside their picture are left out, and how many is logged.

        Raises:
            InputError: folder, annotation file, a picture or one of their parts is missing or
                wrong, or neither an object nor a crowd is left.
        """
        found = read_split(data, split)
        require_pictures(found.images, found.annotation_file)
        self.category_ids: tuple[int, ...] = tuple(c.category_id for c in found.categories)
        """COCO's id of each label."""
        self.class_names: tuple[str, ...] = tuple(c.name for c in found.categories)
        """Name of each label, in order of category id until `labelled` gives them another."""
        self.annotation_file: Path = found.annotation_file
        self.found: Found = found.found
        """Where the split is, and in which layout."""
        self._split = found
        self._images = found.images
        self._objects = _objects(found)
        self._labels = np.arange(len(found.categories))  # of each category in order of id

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """Decode picture `index`; InputError when it is missing, broken or of another size."""
        record = self._images[index]
        objects = self._objects.get(record.image_id, ())
        return Sample(
            image=read_record(record),
            boxes=np.array([o.box for o in objects], np.float32).reshape(-1, 4),
            labels=self._labels[[o.category for o in objects]],
            iscrowd=np.array([o.iscrowd for o in objects], np.bool_),
            segmentations=tuple(o.segmentation for o in objects),
            image_id=record.image_id,
        )

    def sha256(self) -> str:
        """Of the annotations, as `CocoSplit.sha256`."""
        return self._split.sha256()

    def labelled(self, class_names: tuple[str, ...], model: str) -> CocoInstances:
        """The same pictures, labels 0..C-1 given in the order of `class_names`.

        Args:
            class_names: those of the categories, in any order.
            model: whose classes they are, for the error.

        Raises:
            InputError: they are other names than the data's.
        """
        if differ := name_difference(self.class_names, class_names):
            raise InputError(
                f"{self.annotation_file}: its categories do not match the classes of {model}: "
                f"{differ}. Leave classes away, in the recipe too, to take those of the data."
            )
        order = [self.class_names.index(name) for name in class_names]
        relabelled = copy.copy(self)
        relabelled.class_names = class_names
        relabelled.category_ids = tuple(self.category_ids[place] for place in order)
        relabelled._labels = np.argsort(order)[self._labels]
        return relabelled

    @property
    def most_objects(self) -> int:
        """Objects and crowds of the picture that has most."""
        return max((len(several) for several in self._objects.values()), default=0)

    def size_hw(self, index: int) -> tuple[int, int]:
        """Height and width of picture `index` as annotated, without decoding it."""
        return self._images[index].image_hw


@dataclass(frozen=True, slots=True)
class _Object:
    """An annotation as training takes it."""

    box: tuple[float, ...]
    """xyxy, inside the picture, with an area."""
    category: int
    """Its place in order of category id."""
    iscrowd: bool
    segmentation: Segmentation


def _objects(found: CocoSplit) -> dict[int, list[_Object]]:
    """Objects and crowds by image id; refuses a split that has none, says what is left out."""
    sizes = {image.image_id: image.image_hw for image in found.images}
    places = {category.category_id: place for place, category in enumerate(found.categories)}
    objects: dict[int, list[_Object]] = defaultdict(list)
    left_out = 0
    for annotation in found.annotations:
        box = _inside(annotation.bbox, sizes[annotation.image_id])
        if box is None:
            left_out += 1
            continue
        place = places[annotation.category_id]
        known = _Object(box, place, annotation.iscrowd, annotation.segmentation)
        objects[annotation.image_id].append(known)
    _say_left_out(found, left_out)
    if objects and all(one.iscrowd for several in objects.values() for one in several):
        _LOG.warning("%s: every object is a crowd: no example to learn.", found.annotation_file)
    return dict(objects)


def _say_left_out(found: CocoSplit, left_out: int) -> None:
    path, total = found.annotation_file, len(found.annotations)
    if left_out == total:
        raise InputError(
            f"{path}: 0 of {total} objects have a box inside their picture; expected at least one "
            "to learn from. Annotate some, or choose another data set."
        )
    if left_out:
        _LOG.warning(
            "%s: %d of %d objects have no box inside their picture: left out.",
            *(path, left_out, total),
        )


def _inside(
    bbox: tuple[float, float, float, float], image_hw: tuple[int, int]
) -> tuple[float, ...] | None:
    """A box x, y, width, height as xyxy clipped to its picture; None when nothing is left."""
    x, y, width, height = bbox
    limit = np.array([image_hw[1], image_hw[0]] * 2, np.float32)
    box = np.array([x, y, x + width, y + height], np.float32).clip(0, limit)
    return tuple(box.tolist()) if box[0] < box[2] and box[1] < box[3] else None


def run_lengths(mask: Bytes) -> dict[str, Any]:
    """Compressed RLE of a mask (H, W), 1 inside."""
    encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask))
    return encoded


def rle_of(segmentation: Segmentation, size_hw: tuple[int, ...]) -> Any:
    """Compressed RLE, as pycocotools writes it, of any segmentation of a picture of `size_hw`."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    if isinstance(segmentation["counts"], list):  # uncompressed, as COCO writes crowds
        return coco_mask.frPyObjects(segmentation, *size_hw)
    return segmentation
