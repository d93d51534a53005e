"""The one reader of COCO-format files: pictures, annotations and categories as typed records.

Training, metrics, calibration and drawing stand on it; each checks beyond it only what it alone
needs. Two layouts are read, the project's own (`maskrt data shapes` writes it) and COCO 2017 as it
is downloaded:

    DATA/annotations/instances_val.json       DATA/val/*.png
    DATA/annotations/instances_val2017.json   DATA/val2017/*.jpg

What other tools leave out is allowed to be missing: ids of annotations, `area`, `iscrowd`,
`segmentation`, and with no instances the whole list of them. Source: cocodataset.org, Data format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.pictures.preprocess import read_image

Split = Literal["train", "val"]
Segmentation = list[list[float]] | dict[str, Any]
"""COCO's own: polygons [[x, y, x, y, ...], ...] in pixel-edge coordinates, or an RLE."""

_KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
_REMAKE = "Make or download the file again."


@dataclass(frozen=True)
class ImageRecord:
    """One picture of the split."""

    image_id: int
    path: Path
    image_hw: tuple[int, int]
    """Height and width in pixels as the annotation file states them."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotated instance, or a crowd region, as the file gives it."""

    number: int
    """Its id in the file, or its place where it has none; for error sentences."""
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    """x, y, width, height in pixels; x and y of the upper left corner."""
    segmentation: Segmentation | None
    iscrowd: bool
    area: float | None
    """Of the mask, in pixels."""


@dataclass(frozen=True)
class Category:
    """A class by COCO's id."""

    category_id: int
    name: str


@dataclass(frozen=True)
class CocoSplit:
    """One split as it is in its file."""

    annotation_file: Path
    images: tuple[ImageRecord, ...]
    """In the file's order, at least one; whether they exist is not checked."""
    annotations: tuple[Annotation, ...]
    """Of listed categories, not always of listed pictures."""
    categories: tuple[Category, ...]
    """In order of increasing id, which is that of labels; at least one."""


def read_split(folder: Path, split: str) -> CocoSplit:
    """Read the annotations of `split` (`train` or `val`) of a COCO-format data set.

    Raises:
        InputError: the folder, its annotation file or its picture folder is missing, the file is
            not COCO JSON, it lists no picture or no category, or an annotation's category is none
            of those.
    """
    path, image_folder = _locate(folder, split)
    raw = _sections(path)
    try:
        images = tuple(_image(row, image_folder) for row in raw["images"])
        annotations = tuple(_annotation(i, row) for i, row in enumerate(raw["annotations"]))
        categories = {int(row["id"]): str(row["name"]) for row in raw["categories"]}
    except (TypeError, ValueError) as err:
        raise _unreadable(path, f"{type(err).__name__}: {err}") from err
    _check_categories(path, annotations, categories)
    return CocoSplit(
        annotation_file=path,
        images=images,
        annotations=annotations,
        categories=tuple(Category(*pair) for pair in sorted(categories.items())),
    )


def read_record(record: ImageRecord) -> npt.NDArray[np.uint8]:
    """Decode one picture: (H, W, 3) uint8 RGB; InputError when its size is not the recorded one."""
    image = read_image(record.path)
    if image.shape[:2] != record.image_hw:
        raise InputError(
            f"{record.path}: {image.shape[0]}x{image.shape[1]} pixels; the annotations say "
            f"{record.image_hw[0]}x{record.image_hw[1]} (height x width). Replace the picture or "
            "its annotations."
        )
    return image


def _locate(folder: Path, split: str) -> tuple[Path, Path]:
    """Annotation file and picture folder of `split`."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; expected a COCO-format data set. "
            "Check the path, or draw one with `maskrt data shapes --out DIR`."
        )
    pairs = [
        (folder / "annotations" / f"instances_{name}.json", folder / name)
        for name in (split, f"{split}2017")
    ]
    files = [pair for pair in pairs if pair[0].is_file()]
    for annotation_file, image_folder in files:
        if image_folder.is_dir():
            return annotation_file, image_folder
    if files:
        annotation_file, image_folder = files[0]
        raise InputError(
            f"{image_folder}: no such folder; {annotation_file.name} lists pictures in it. "
            "Put the pictures there."
        )
    raise InputError(
        f"{folder}: no '{split}' split of a COCO-format data set; expected {split}/ with "
        f"annotations/instances_{split}.json, or both named {split}2017. Check the folder, or draw "
        "a data set with `maskrt data shapes --out DIR`."
    )


def _sections(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists, every row with the keys that each must have."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise _unreadable(path, f"{type(err).__name__}: {err}") from err
    if not isinstance(raw, dict):
        raise _unreadable(path, "the JSON is no object")
    sections = {name: raw.get(name, []) for name in _KEYS}
    for name, rows in sections.items():
        if not isinstance(rows, list):
            raise _unreadable(path, f"'{name}' is no list")
        _check_rows(path, name, rows)
    if not sections["images"] or not sections["categories"]:
        raise InputError(
            f"{path}: {len(sections['images'])} images and {len(sections['categories'])} "
            f"categories; expected some of each. {_REMAKE}"
        )
    return sections


def _check_rows(path: Path, section: str, rows: Sequence[Any]) -> None:
    for place, row in enumerate(rows):
        missing = [key for key in _KEYS[section] if not isinstance(row, dict) or key not in row]
        if missing:
            raise InputError(
                f"{path}: {section}[{place}] has no {' and no '.join(missing)}; expected COCO's "
                f"instance format. {_REMAKE}"
            )


def _check_categories(
    path: Path, annotations: Sequence[Annotation], categories: dict[int, str]
) -> None:
    for annotation in annotations:
        if annotation.category_id not in categories:
            raise InputError(
                f"{path}: annotation {annotation.number} has category {annotation.category_id}, "
                f"which categories does not list. {_REMAKE}"
            )


def _image(row: dict[str, Any], image_folder: Path) -> ImageRecord:
    size_hw = int(row["height"]), int(row["width"])
    return ImageRecord(int(row["id"]), image_folder / str(row["file_name"]), size_hw)


def _annotation(place: int, row: dict[str, Any]) -> Annotation:
    x, y, width, height = map(float, row["bbox"])
    area = row.get("area")
    return Annotation(
        number=int(row.get("id", place)),
        image_id=int(row["image_id"]),
        category_id=int(row["category_id"]),
        bbox=(x, y, width, height),
        segmentation=row.get("segmentation"),
        iscrowd=bool(row.get("iscrowd", 0)),
        area=None if area is None else float(area),
    )


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path}: unreadable as COCO annotations ({why}); expected JSON with images, annotations "
        f"and categories. {_REMAKE}"
    )
