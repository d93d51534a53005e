"""One split of a COCO-format data set as metrics need it: ground truth, and categories as labels.

Separate from the metric because predicting, timing and drawing need the pictures too. What a metric
cannot do without is checked here, once, so that later code trusts what it reads: every picture is
there, every annotation has its picture, mask and area, and names tell categories apart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from .annotations import CocoSplit, ImageRecord, Split, read_split


@dataclass(frozen=True)
class CocoData:
    """One split of a data set. Category `category_ids[label]` is called `class_names[label]`."""

    folder: Path
    split: str
    images: tuple[ImageRecord, ...]
    truth: Any
    """`pycocotools.coco.COCO` with the ground truth; annotation ids are renumbered from 1."""
    class_names: tuple[str, ...]
    """By label 0..C-1, which is the order of increasing category id."""
    category_ids: tuple[int, ...]

    def label_of(self, category_id: int) -> int:
        """Contiguous label of a COCO category id."""
        return self.category_ids.index(category_id)

    def first(self, limit: int | None) -> CocoData:
        """The same split with only its first `limit` pictures (all of them when None).

        Metrics look at the pictures that were predicted, so ground truth is left whole.
        """
        return dataclasses.replace(self, images=self.images[:limit])


def load_coco(folder: Path, split: Split = "val") -> CocoData:
    """Read and check one split of a COCO-format data set.

    Args:
        folder: holds `annotations/` and the picture folder (see `annotations`).
        split: `train` or `val`.

    Raises:
        InputError: as `read_split`; a listed picture is missing, two categories share a name, or
            an annotation lacks its picture, `area` or `segmentation`.
    """
    found = read_split(folder, split)
    _check_names(found)
    _check_pictures(found)
    _check_annotations(found)
    return CocoData(
        folder=folder,
        split=split,
        images=found.images,
        truth=_truth(found),
        class_names=tuple(category.name for category in found.categories),
        category_ids=tuple(category.category_id for category in found.categories),
    )


def category_ids_for(data: CocoData, class_names: Sequence[str], model: str) -> tuple[int, ...]:
    """COCO category id of each of a model's labels, by name, in the model's own order.

    Args:
        data: the data set.
        class_names: names of the model's labels 0..C-1.
        model: what to call the model in the error.

    Raises:
        InputError: the two sets of names differ.
    """
    missing = [name for name in data.class_names if name not in class_names]
    extra = [name for name in class_names if name not in data.class_names]
    if missing or extra:
        raise InputError(
            f"{data.folder}: its categories do not match the classes of {model}: "
            f"only in the data: {_some(missing)}; only in the model: {_some(extra)}. "
            "Use the data set that the model was trained for, or train for this one."
        )
    return tuple(data.category_ids[data.class_names.index(name)] for name in class_names)


def _check_names(found: CocoSplit) -> None:
    names = [category.name for category in found.categories]
    if len(set(names)) != len(names):
        raise InputError(
            f"{found.annotation_file}: two categories share a name, and labels are told apart by "
            "name. Rename one."
        )


def _check_pictures(found: CocoSplit) -> None:
    absent = [image.path for image in found.images if not image.path.is_file()]
    if absent:
        raise InputError(
            f"{absent[0]}: no such picture ({len(absent)} of the {len(found.images)} that "
            f"{found.annotation_file.name} lists are absent). Put the pictures there, or remove "
            "them from the file."
        )


def _check_annotations(found: CocoSplit) -> None:
    known = {image.image_id for image in found.images}
    for annotation in found.annotations:
        missing = [key for key in ("area", "segmentation") if getattr(annotation, key) is None]
        if annotation.image_id not in known:
            missing = [f"picture: {annotation.image_id} is not listed"]
        if missing:
            raise InputError(
                f"{found.annotation_file}: annotation {annotation.number} has no "
                f"{' and no '.join(missing)}; expected COCO's instance format. Make or download "
                "the file again."
            )


def _truth(found: CocoSplit) -> Any:
    """The split as pycocotools takes it."""
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {
        "info": {"description": str(found.annotation_file)},
        "images": [
            {
                "id": image.image_id,
                "file_name": image.path.name,
                "height": image.image_hw[0],
                "width": image.image_hw[1],
            }
            for image in found.images
        ],
        # COCOeval writes a detection's ground-truth id where it matched and 0 where it did not, so
        # an annotation with id 0, which many tools write, would count as missed: number from 1.
        "annotations": [
            {
                "id": number,
                "image_id": annotation.image_id,
                "category_id": annotation.category_id,
                "bbox": list(annotation.bbox),
                "area": annotation.area,
                "iscrowd": int(annotation.iscrowd),
                "segmentation": annotation.segmentation,
            }
            for number, annotation in enumerate(found.annotations, 1)
        ],
        "categories": [{"id": c.category_id, "name": c.name} for c in found.categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth.createIndex()
    return truth


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return shown or "none"
