"""The one reader of COCO-format files: pictures, annotations and categories as typed records.

Training, metrics, calibration and drawing stand on it, so a file that one of them takes the others
take too. Every value is checked here, and the sentence of a refusal names section, index and field.

What other tools leave out may be missing: ids of annotations, `area`, `iscrowd`, and with no
instances the whole list of them. An object without a mask is left out, and how many is logged.
Source: cocodataset.org, Data format.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.pictures.preprocess import read_image
from .layout import locate, read_rows
from .rows import REMEDY, Row, is_number
from .segmentations import Segmentation, checked_segmentation, mask_area, reach

Split = Literal["train", "val"]
Box = tuple[float, float, float, float]

_LONGEST_SIDE_PX, _MOST_PIXELS = 2**20, 2**30  # what OpenCV decodes
_GROUND_NAMES = ("_background_", "__background__", "background")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageRecord:
    """One picture of the split."""

    image_id: int
    path: Path
    image_hw: tuple[int, int]
    """Height and width in pixels as the annotation file states them."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotated instance, or a crowd region."""

    image_id: int
    category_id: int
    bbox: Box
    """x, y, width, height in pixels; x and y of the upper left corner. It may reach beyond the
    picture, or have no area."""
    segmentation: Segmentation
    """It rasterizes in the picture's size."""
    iscrowd: bool
    area: float
    """Of the mask, in pixels; counted where the file gives none or 0."""


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
    """In order of increasing id, at least one; whether they exist is not checked."""
    annotations: tuple[Annotation, ...]
    """In the file's order; their pictures and categories are listed."""
    categories: tuple[Category, ...]
    """In order of increasing id, which is that of labels; at least one, each of another name."""


def read_split(folder: Path, split: str) -> CocoSplit:
    """Read the annotations of `split` (`train` or `val`) of a COCO-format data set.

    How many objects have no mask and are left out, boxes that look like two corners, and a class
    for the background are logged as warnings.

    Raises:
        InputError: the folder, its annotation file or its picture folder is missing, the file is
            not COCO JSON, a value in it is impossible, or no object has a mask.
    """
    path, image_folder = locate(folder, split)
    rows = read_rows(path)
    images = _images(rows["images"], image_folder)
    categories = _categories(rows["categories"])
    found = [_annotation(row, images, categories) for row in rows["annotations"]]
    annotations = _with_masks(path, found)
    _say_corners(path, annotations, images)
    _say_ground(path, annotations, categories)
    return CocoSplit(
        annotation_file=path,
        images=tuple(images[image_id] for image_id in sorted(images)),
        annotations=tuple(annotations),
        categories=tuple(Category(*pair) for pair in sorted(categories.items())),
    )


def read_record(record: ImageRecord) -> npt.NDArray[np.uint8]:
    """Decode one picture: (H, W, 3) uint8 RGB; InputError when its size is not the recorded one."""
    image = read_image(record.path)
    if image.shape[:2] != record.image_hw:
        raise size_error(record, (image.shape[0], image.shape[1]))
    return image


def size_error(record: ImageRecord, found_hw: tuple[int, int]) -> InputError:
    """The sentence for a picture of another size than annotated."""
    turned = found_hw == record.image_hw[::-1]
    why = ", turned, as by an EXIF orientation that a labelling tool ignored" if turned else ""
    return InputError(
        f"{record.path}: {found_hw[0]}x{found_hw[1]} pixels; the annotations say "
        f"{record.image_hw[0]}x{record.image_hw[1]} (height x width){why}. "
        "Replace the picture or its annotations."
    )


def _images(rows: Sequence[Row], folder: Path) -> dict[int, ImageRecord]:
    """By id; no id and no file is listed twice."""
    images: dict[int, ImageRecord] = {}
    places: dict[Path, int] = {}
    for row in rows:
        record = _image(row, folder)
        if record.image_id in images:
            other = images[record.image_id].path.name
            found = f"{record.image_id} is given to {other} and to {record.path.name}"
            raise row.refused("id", "an id of its own for each picture", found)
        if record.path in places:
            found = f"is that of images[{places[record.path]}] too: {row.values['file_name']}"
            raise row.refused("file_name", "each picture once", found)
        images[record.image_id], places[record.path] = record, row.index
    return images


def _image(row: Row, folder: Path) -> ImageRecord:
    name = PurePosixPath(row.text("file_name"))
    if name.is_absolute() or ".." in name.parts:
        raise row.refused("file_name", f"a name inside {folder.name}/")
    height, width = (
        row.whole("height", 1, _LONGEST_SIDE_PX),
        row.whole("width", 1, _LONGEST_SIDE_PX),
    )
    if height * width > _MOST_PIXELS:
        found = f"and width make {height * width} pixels"
        raise row.refused("height", f"at most {_MOST_PIXELS}, which OpenCV reads", found)
    return ImageRecord(row.whole("id"), folder / name, (height, width))


def _categories(rows: Sequence[Row]) -> dict[int, str]:
    """Names by id; neither is listed twice."""
    categories: dict[int, str] = {}
    names = set()
    for row in rows:
        number, name = row.whole("id"), row.text("name")
        if number in categories:
            raise row.refused("id", "an id of its own for each category")
        if name in names:
            raise row.refused("name", "names that tell the categories apart")
        categories[number] = name
        names.add(name)
    return categories


def _annotation(
    row: Row, images: dict[int, ImageRecord], categories: dict[int, str]
) -> Annotation | None:
    """One checked annotation; None without a mask."""
    image_id, category_id = row.whole("image_id"), row.whole("category_id")
    if image_id not in images:
        raise row.refused("image_id", "the id of a picture that images lists")
    if category_id not in categories:
        raise row.refused("category_id", "an id that categories lists")
    if row.values.get("id") is not None:
        row.whole("id")
    image_hw = images[image_id].image_hw
    bbox, iscrowd = _bbox(row, max(image_hw)), row.flag("iscrowd")
    area = row.number("area", 0, float(9 * max(image_hw) ** 2))
    segmentation = checked_segmentation(row, image_hw)
    if segmentation is None:
        return None
    area = area or mask_area(segmentation, image_hw)
    return Annotation(image_id, category_id, bbox, segmentation, iscrowd, area)


def _bbox(row: Row, side_px: int) -> Box:
    value = row.values["bbox"]
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        raise row.refused("bbox", "four numbers: x, y, width and height in pixels")
    low, high = reach(side_px)
    least = (low, low, 0, 0)
    if not all(least[i] <= value[i] <= high for i in range(4)):  # never so for NaN
        raise row.refused("bbox", f"pixels from {low} to {high}, width and height of 0 or more")
    x, y, width, height = map(float, value)
    return x, y, width, height


def _with_masks(path: Path, found: Sequence[Annotation | None]) -> list[Annotation]:
    """Those that are no None; says how many are."""
    kept = [annotation for annotation in found if annotation is not None]
    if found and not kept:
        raise InputError(
            f"{path}: none of the {len(found)} annotations has a mask; expected polygons or an RLE "
            f"in segmentation. {REMEDY}"
        )
    if len(kept) < len(found):
        left_out = len(found) - len(kept)
        _LOG.warning("%s: %d of %d objects have no mask: left out.", path, left_out, len(found))
    return kept


def _say_corners(
    path: Path, annotations: Sequence[Annotation], images: dict[int, ImageRecord]
) -> None:
    """Boxes as x0, y0, x1, y1 are the commonest mistake of converters, and cost AP in silence."""
    if not annotations:
        return
    a, b, c, d = np.array([annotation.bbox for annotation in annotations]).T
    height, width = np.array([images[annotation.image_id].image_hw for annotation in annotations]).T
    beyond = (a + c > width) | (b + d > height)
    corners = (a < c) & (b < d) & (c <= width) & (d <= height)
    suspect = int((beyond & corners).sum())
    if 2 * suspect > len(annotations):
        _LOG.warning(
            "%s: %d of %d boxes reach beyond their picture as x, y, width, height and fit as two "
            "corners. If they are corners, write x1 - x0 and y1 - y0 instead.",
            *(path, suspect, len(annotations)),
        )


def _say_ground(path: Path, annotations: Sequence[Annotation], categories: dict[int, str]) -> None:
    used = {annotation.category_id for annotation in annotations}
    for category_id, name in categories.items():
        if name in _GROUND_NAMES and category_id not in used:
            _LOG.warning(
                "%s: category %r has no object and becomes a class. Remove it from categories.",
                *(path, name),
            )
