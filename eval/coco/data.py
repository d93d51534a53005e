"""One split of labelled pictures as metrics need it: ground truth, and categories as labels.

Separate from the metric because predicting, timing and drawing need the pictures too.
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
from ..datasets.finding import Found
from ..datasets.source import DataSource, Split, source_of
from .annotations import CocoSplit, read_split
from .pictures import ImageRecord, require_pictures


@dataclass(frozen=True)
class CocoData:
    """One split of a data set. Category `category_ids[label]` is called `class_names[label]`."""

    folder: Path
    split: Split
    images: tuple[ImageRecord, ...]
    truth: Any
    """`pycocotools.coco.COCO` with the ground truth; annotation ids are renumbered from 1."""
    class_names: tuple[str, ...]
    """By label 0..C-1, which is the order of increasing category id."""
    category_ids: tuple[int, ...]
    found: Found
    """Where it was found, and in which layout."""

    @property
    def told(self) -> str:
        """What was found, in a line."""
        return self.found.told({self.split: len(self.images)}, len(self.class_names))

    def label_of(self, category_id: int) -> int:
        """Contiguous label of a COCO category id."""
        return self.category_ids.index(category_id)

    def first(self, limit: int | None) -> CocoData:
        """The same split with only the `limit` pictures of smallest id (all of them when None).

        Metrics look at the pictures that were predicted, so ground truth is left whole.
        """
        return dataclasses.replace(self, images=self.images[:limit])


def load_coco(data: Path | DataSource, split: Split = "val") -> CocoData:
    """Read and check one split of labelled pictures.

    Args:
        data: a folder in a layout that `eval.datasets` knows, or a pair of pictures and JSON.
        split: `train`, `val` or `test`.

    Raises:
        InputError: as `read_split`, or a listed picture is missing or of another size.
    """
    found = read_split(data, split)
    require_pictures(found.images, found.annotation_file)
    return CocoData(
        folder=source_of(data).folder,
        split=split,
        images=found.images,
        truth=_truth(found),
        class_names=tuple(category.name for category in found.categories),
        category_ids=tuple(category.category_id for category in found.categories),
        found=found.found,
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
    if differ := name_difference(data.class_names, class_names):
        raise InputError(
            f"{data.folder}: its categories do not match the classes of {model}: {differ}. "
            "Use the data set that the model was trained for, or train for this one."
        )
    return tuple(data.category_ids[data.class_names.index(name)] for name in class_names)


def name_difference(
    one: Sequence[str], other: Sequence[str], whose: tuple[str, str] = ("the data", "the model")
) -> str:
    """Which names only the one and only the other has, in half a sentence; "" where none."""
    missing = [name for name in one if name not in other]
    extra = [name for name in other if name not in one]
    if not missing and not extra:
        return ""
    return f"only in {whose[0]}: {_some(missing)}; only in {whose[1]}: {_some(extra)}"


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
