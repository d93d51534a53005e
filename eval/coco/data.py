"""A COCO-format data set on disk: its pictures, its ground truth, and its categories as labels.

Separate from the metric because predicting, timing and drawing need the pictures too. Layout,
either of the project's own (`maskrt data shapes` writes it) or of COCO 2017 as it is downloaded:

    DATA/annotations/instances_val.json       DATA/val/*.png
    DATA/annotations/instances_val2017.json   DATA/val2017/*.jpg

Everything a wrong file can break is checked here, once, so that later code trusts what it reads.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...runtime.errors import InputError

Split = Literal["train", "val"]

_IMAGE_KEYS = ("id", "file_name", "height", "width")
_ANNOTATION_KEYS = ("image_id", "category_id", "bbox", "area", "segmentation")


@dataclass(frozen=True)
class ImageRecord:
    """One picture of the split."""

    image_id: int
    path: Path
    image_hw: tuple[int, int]
    """Height and width in pixels as the annotation file states them."""


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
        return CocoData(
            self.folder,
            self.split,
            self.images[:limit],
            self.truth,
            self.class_names,
            self.category_ids,
        )


def load_coco(folder: Path, split: Split = "val") -> CocoData:
    """Read and check one split of a COCO-format data set.

    Args:
        folder: holds `annotations/` and the picture folder (module docstring).
        split: `train` or `val`.

    Raises:
        InputError: the folder, the annotation file or a listed picture is missing, the file is not
            COCO JSON, or it lists no picture or no category.
    """
    annotation_file, image_folder = _locate(folder, split)
    raw = _read_json(annotation_file)
    _check_fields(raw, annotation_file)
    images = tuple(_record(image, image_folder) for image in raw["images"])
    _check_pictures(images, annotation_file)
    categories = sorted(raw["categories"], key=lambda category: int(category["id"]))
    return CocoData(
        folder=folder,
        split=split,
        images=images,
        truth=_coco(raw, annotation_file),
        class_names=tuple(str(category["name"]) for category in categories),
        category_ids=tuple(int(category["id"]) for category in categories),
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


def _locate(folder: Path, split: str) -> tuple[Path, Path]:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; expected a COCO-format data set. "
            "Check the path, or draw one with `maskrt data shapes --out DIR`."
        )
    for name in (split, f"{split}2017"):
        annotation_file = folder / "annotations" / f"instances_{name}.json"
        if not annotation_file.is_file():
            continue
        if not (folder / name).is_dir():
            raise InputError(
                f"{folder / name}: no such folder; {annotation_file.name} lists pictures in it. "
                "Put the pictures there."
            )
        return annotation_file, folder / name
    raise InputError(
        f"{folder}: no annotations/instances_{split}.json (or instances_{split}2017.json) in it; "
        "expected a COCO-format data set. Check the path."
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except (ValueError, OSError) as err:
        raise InputError(
            f"{path}: not readable as JSON ({err}); expected COCO annotations. Make it again."
        ) from err
    if not isinstance(raw, dict):
        raise InputError(f"{path}: the JSON is no object; expected COCO annotations. Remake it.")
    return raw


def _check_fields(raw: dict[str, Any], path: Path) -> None:
    """Every list and key that is read later is there and refers to something."""
    _check_rows(raw, "images", _IMAGE_KEYS, path)
    _check_rows(raw, "categories", ("id", "name"), path)
    _check_rows(raw, "annotations", _ANNOTATION_KEYS, path)
    for section in ("images", "categories"):
        if not raw[section]:
            raise InputError(f"{path}: '{section}' is empty; expected at least one. Make it again.")
    names = [category["name"] for category in raw["categories"]]
    if len(set(names)) != len(names):
        raise InputError(
            f"{path}: two categories share a name, and labels are told apart by name. Rename one."
        )
    known = {
        "image_id": {image["id"] for image in raw["images"]},
        "category_id": {category["id"] for category in raw["categories"]},
    }
    for index, annotation in enumerate(raw["annotations"]):
        for key, ids in known.items():
            if annotation[key] not in ids:
                raise InputError(
                    f"{path}: annotation {index} has {key} {annotation[key]}, which the file does "
                    "not list. Make it again."
                )


def _check_rows(raw: dict[str, Any], section: str, keys: tuple[str, ...], path: Path) -> None:
    rows = raw.get(section)
    if not isinstance(rows, list):
        raise InputError(f"{path}: no list '{section}'; expected COCO annotations. Make it again.")
    for index, row in enumerate(rows):
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise InputError(
                f"{path}: {section}[{index}] has no {' and no '.join(missing)}; "
                "expected COCO instance annotations. Make it again."
            )


def _record(image: dict[str, Any], image_folder: Path) -> ImageRecord:
    return ImageRecord(
        image_id=int(image["id"]),
        path=image_folder / str(image["file_name"]),
        image_hw=(int(image["height"]), int(image["width"])),
    )


def _check_pictures(images: tuple[ImageRecord, ...], path: Path) -> None:
    absent = [image.path for image in images if not image.path.is_file()]
    if absent:
        raise InputError(
            f"{absent[0]}: no such picture ({len(absent)} of the {len(images)} that {path.name} "
            "lists are absent). Put the pictures there, or remove them from the file."
        )


def _coco(raw: dict[str, Any], path: Path) -> Any:
    from pycocotools.coco import COCO

    truth = COCO()
    # COCOeval writes a detection's ground-truth id where it matched and 0 where it did not, so an
    # annotation with id 0, which many tools write, would count as missed: number them from 1.
    annotations = [
        {"iscrowd": 0, **annotation, "id": index + 1}
        for index, annotation in enumerate(raw["annotations"])
    ]
    truth.dataset = {"info": {"description": str(path)}, **raw, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return shown or "none"
