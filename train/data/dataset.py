"""COCO-format pictures with their instances, as the annotations give them.

Two folder layouts are read: DATA/{train,val}/ with annotations/instances_{train,val}.json, and
COCO's own DATA/{train,val}2017/ with annotations/instances_{train,val}2017.json.

    CocoInstances -> Sample -> augment.augment -> Sample -> batches.loader -> Batch

Sources: pycocotools for the format; Wu et al., detectron2 data/ @02b5c4e, for which annotations
count.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torch.utils.data import Dataset

from ...runtime.errors import InputError
from ...runtime.pictures.preprocess import read_image

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Segmentation = list[list[float]] | dict[str, Any]
"""COCO's own: polygons [[x, y, x, y, ...], ...] in pixel-edge coordinates, or an RLE."""


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
        self._images_dir, annotation_file = _find_split(data, split)
        coco = _read_annotations(annotation_file)
        category_ids = sorted(coco.cats)
        self.category_ids: tuple[int, ...] = tuple(category_ids)
        """COCO's id of each label."""
        self.class_names: tuple[str, ...] = tuple(coco.cats[i]["name"] for i in category_ids)
        """Name of each label, in order of category id."""
        self._label_of = {category_id: label for label, category_id in enumerate(category_ids)}
        self._images = [coco.imgs[i] for i in sorted(coco.imgs)]
        self._annotations = [coco.imgToAnns.get(i, []) for i in sorted(coco.imgs)]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """Decode picture `index`; InputError when it is missing, broken or of another size."""
        entry = self._images[index]
        path, size_hw = self._images_dir / entry["file_name"], self.size_hw(index)
        image = _image_of_size(path, size_hw)
        found = [self._instance(raw, path, size_hw) for raw in self._annotations[index]]
        kept = [instance for instance in found if instance is not None]
        limit = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        boxes = np.array([k[0] for k in kept], np.float32).reshape(-1, 4).clip(0, limit)
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Sample(
            image=image,
            boxes=boxes[whole],
            labels=np.array([k[1] for k in kept], np.int64)[whole],
            iscrowd=np.array([k[2] for k in kept], np.bool_)[whole],
            segmentations=tuple(k[3] for k, ok in zip(kept, whole, strict=True) if ok),
            image_id=int(entry["id"]),
        )

    def size_hw(self, index: int) -> tuple[int, int]:
        """Height and width of picture `index` as annotated, without decoding it."""
        return int(self._images[index]["height"]), int(self._images[index]["width"])

    def _instance(
        self, raw: Any, path: Path, size_hw: tuple[int, int]
    ) -> tuple[list[float], int, bool, Segmentation] | None:
        """Box xyxy, label, crowd flag and segmentation; None without an area to learn from."""
        x, y, w, h = raw["bbox"]
        segmentation = raw.get("segmentation")
        if isinstance(segmentation, list):
            segmentation = [p for p in segmentation if len(p) >= 6]  # three corners at least
        if w <= 0 or h <= 0 or not segmentation or raw.get("area", 1) <= 0:
            return None
        if isinstance(segmentation, dict) and tuple(segmentation["size"]) != size_hw:
            raise InputError(
                f"{path}: annotation {raw['id']} has an RLE of {segmentation['size']}; expected "
                f"{list(size_hw)}, the picture's height and width. Correct the annotations."
            )
        label = self._label_of[raw["category_id"]]
        return [x, y, x + w, y + h], label, bool(raw.get("iscrowd", 0)), segmentation


def rle_of(segmentation: Segmentation, size_hw: tuple[int, ...]) -> Any:
    """Compressed RLE, as pycocotools writes it, of any segmentation of a picture of `size_hw`."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw))
    if isinstance(segmentation["counts"], list):  # uncompressed, as COCO writes crowds
        return coco_mask.frPyObjects(segmentation, *size_hw)
    return segmentation


def _image_of_size(path: Path, size_hw: tuple[int, int]) -> Bytes:
    """A picture as (H, W, 3) uint8 RGB, checked against its annotated size."""
    image = read_image(path)
    if image.shape[:2] != size_hw:
        raise InputError(
            f"{path}: {image.shape[0]}x{image.shape[1]} pixels; the annotations say "
            f"{size_hw[0]}x{size_hw[1]}. Replace the picture or its annotations."
        )
    return image


def _find_split(data: Path, split: str) -> tuple[Path, Path]:
    """Picture folder and annotation file of `split`."""
    for name in (split, f"{split}2017"):
        annotation_file = data / "annotations" / f"instances_{name}.json"
        if annotation_file.is_file() and (data / name).is_dir():
            return data / name, annotation_file
    raise InputError(
        f"{data}: no '{split}' split of a COCO-format data set; expected {split}/ with "
        f"annotations/instances_{split}.json, or both named {split}2017. Check the folder, or draw "
        "a data set with `maskrt data shapes --out DIR`."
    )


def _read_annotations(path: Path) -> COCO:
    """An annotation file through pycocotools, which prints its progress: that is swallowed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as err:
        raise InputError(
            f"{path}: unreadable as COCO annotations ({type(err).__name__}: {err}); expected JSON "
            "with images, annotations and categories. Make or download the file again."
        ) from err
    if not coco.imgs or not coco.cats:
        raise InputError(
            f"{path}: {len(coco.imgs)} images and {len(coco.cats)} categories; expected some of "
            "each. Make or download the file again."
        )
    _check_references(path, coco)
    return coco


def _check_references(path: Path, coco: COCO) -> None:
    """Every image has a size and a file, every annotation a box and a known category."""
    for kind, entries, keys in (
        ("image", coco.imgs, ("file_name", "height", "width")),
        ("annotation", coco.anns, ("bbox", "category_id")),
    ):
        for number, entry in entries.items():
            missing = [key for key in keys if key not in entry]
            if missing:
                raise InputError(
                    f"{path}: {kind} {number} has no {' and no '.join(missing)}; expected COCO's "
                    "instance format. Make or download the file again."
                )
            if entry.get("category_id", next(iter(coco.cats))) not in coco.cats:
                raise InputError(
                    f"{path}: annotation {number} has category {entry['category_id']}, which "
                    "categories does not list. Make or download the file again."
                )
