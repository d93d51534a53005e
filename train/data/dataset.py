"""COCO-format pictures with their instances, as the annotations give them.

    eval's read_split -> CocoInstances -> Sample -> augment -> Sample -> batches.loader -> Batch

Source: Wu et al., detectron2 data/ @02b5c4e, for which annotations count.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from torch.utils.data import Dataset

from ...eval.coco.annotations import (
    Annotation,
    ImageRecord,
    Segmentation,
    read_record,
    read_split,
)
from ...runtime.errors import InputError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


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

    def masks(self) -> Bytes:
        """(N, H, W) uint8, 1 inside; rasterized anew at every call."""
        size_hw = self.image.shape[:2]
        if not self.segmentations:
            return np.zeros((0, *size_hw), np.uint8)
        rles = [rle_of(s, size_hw) for s in self.segmentations]
        # pycocotools gives (H, W, N) in Fortran order
        return np.ascontiguousarray(coco_mask.decode(rles).transpose(2, 0, 1))


class CocoInstances(Dataset[Sample]):
    """The pictures of one split, in order of image id; `dataset[i]` decodes a `Sample`."""

    def __init__(self, data: Path, split: str) -> None:
        """Read the annotations of `split` (`train` or `val`) under `data`.

        Raises:
            InputError: folder, annotation file or one of its parts is missing or unreadable.
        """
        found = read_split(data, split)
        self.category_ids: tuple[int, ...] = tuple(c.category_id for c in found.categories)
        """COCO's id of each label."""
        self.class_names: tuple[str, ...] = tuple(c.name for c in found.categories)
        """Name of each label, in order of category id."""
        self._label_of = {category_id: label for label, category_id in enumerate(self.category_ids)}
        images = {image.image_id: image for image in found.images}
        self._images = [images[image_id] for image_id in sorted(images)]
        self._annotations: dict[int, list[Annotation]] = defaultdict(list)
        for annotation in found.annotations:
            self._annotations[annotation.image_id].append(annotation)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """Decode picture `index`; InputError when it is missing, broken or of another size."""
        record = self._images[index]
        image = read_record(record)
        annotations = self._annotations.get(record.image_id, ())
        kept = [example for a in annotations if (example := self._example(a, record)) is not None]
        limit = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        boxes = np.array([k[0] for k in kept], np.float32).reshape(-1, 4).clip(0, limit)
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Sample(
            image=image,
            boxes=boxes[whole],
            labels=np.array([k[1] for k in kept], np.int64)[whole],
            iscrowd=np.array([k[2] for k in kept], np.bool_)[whole],
            segmentations=tuple(k[3] for k, ok in zip(kept, whole, strict=True) if ok),
            image_id=record.image_id,
        )

    def size_hw(self, index: int) -> tuple[int, int]:
        """Height and width of picture `index` as annotated, without decoding it."""
        return self._images[index].image_hw

    def _example(
        self, annotation: Annotation, record: ImageRecord
    ) -> tuple[list[float], int, bool, Segmentation] | None:
        """Box xyxy, label, crowd flag and segmentation; None without an area to learn from."""
        x, y, w, h = annotation.bbox
        segmentation = annotation.segmentation
        if isinstance(segmentation, list):
            segmentation = [p for p in segmentation if len(p) >= 6]  # three corners at least
        without_area = annotation.area is not None and annotation.area <= 0
        if w <= 0 or h <= 0 or not segmentation or without_area:
            return None
        if isinstance(segmentation, dict) and tuple(segmentation["size"]) != record.image_hw:
            raise InputError(
                f"{record.path}: annotation {annotation.number} has an RLE of "
                f"{segmentation['size']}; expected {list(record.image_hw)}, the picture's height "
                "and width. Correct the annotations."
            )
        label = self._label_of[annotation.category_id]
        return [x, y, x + w, y + h], label, annotation.iscrowd, segmentation


def rle_of(segmentation: Segmentation, size_hw: tuple[int, ...]) -> Any:
    """Compressed RLE, as pycocotools writes it, of any segmentation of a picture of `size_hw`."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    if isinstance(segmentation["counts"], list):  # uncompressed, as COCO writes crowds
        return coco_mask.frPyObjects(segmentation, *size_hw)
    return segmentation
