"""The one reader of labelled pictures: pictures, annotations and categories as typed records.

Whatever layout and format `datasets` finds becomes COCO's three lists, and these are read here.
Training, metrics, calibration and drawing stand on it, so a file that one of them takes the others
take too. Every value is checked here, and the sentence of a refusal names section, index and field.

What other tools leave out may be missing: ids of annotations, `area`, `iscrowd`, and with no
instances the whole list of them. An object without a mask is left out, and how many is logged.
Source: cocodataset.org, Data format.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.errors import InputError
from ...runtime.files import sha256_of
from ..datasets.finding import Found, find_split, names_of_split
from ..datasets.labelme import labelme_sections
from ..datasets.layout import CocoPart, YoloPart
from ..datasets.source import DataSource, Split, source_of
from ..datasets.yolo import yolo_sections
from .categories import Category, read_categories
from .pictures import ImageRecord, read_images
from .rows import REMEDY, Row, is_number
from .sections import Sections, read_rows
from .segmentations import Segmentation, checked_segmentation, mask_area, reach

Box = tuple[float, float, float, float]


_LOG = logging.getLogger(__name__)


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
class CocoSplit:
    """One split as it is in its files."""

    annotation_file: Path
    """The COCO JSON, YOLO's `data.yaml`, or the folder of labelme's files."""
    images: tuple[ImageRecord, ...]
    """In order of increasing id, at least one; whether they exist is not checked."""
    annotations: tuple[Annotation, ...]
    """In the file's order; their pictures and categories are listed."""
    categories: tuple[Category, ...]
    """In order of increasing id, which is that of labels; at least one, each of another name."""
    found: Found
    """Where the split is, and in which layout."""

    def sha256(self) -> str:
        """Of the COCO JSON where that is the split, else of what was read: names, objects."""
        if isinstance(self.found.part, CocoPart) and self.found.share is None:
            return sha256_of(self.annotation_file)
        names = [image.path.name for image in self.images]
        return hashlib.sha256(repr((names, self.annotations, self.categories)).encode()).hexdigest()


def read_split(data: Path | DataSource, split: Split) -> CocoSplit:
    """Read the annotations of a split of labelled pictures.

    How many objects have no mask and are left out, boxes that look like two corners, categories
    that are no classes, and pictures found elsewhere than said are logged as warnings.

    Raises:
        InputError: the folder, its annotations or its pictures' folder is missing, a file is not
            what its layout says, a value in it is impossible, or no object has a mask.
    """
    found = find_split(source_of(data), split)
    path, folder, rows = sections_of(found)
    images = read_images(path, rows["images"], folder)
    used = {_hashable(row.values["category_id"]) for row in rows["annotations"]}
    categories = read_categories(path, rows["categories"], used)
    kept = images if found.share is None else _share_of(path, images, split, found.share)
    annotations = _annotations(path, rows["annotations"], images, kept, categories)
    return CocoSplit(
        annotation_file=path,
        images=tuple(kept[image_id] for image_id in sorted(kept)),
        annotations=tuple(annotations),
        categories=tuple(Category(*pair) for pair in sorted(categories.items())),
        found=found,
    )


def sections_of(found: Found) -> tuple[Path, Path, Sections]:
    """The file that errors name, the folder of the pictures, and COCO's three lists.

    Raises:
        InputError: a file is not what its layout says, or the pictures' folder is missing.
    """
    part = found.part
    if isinstance(part, CocoPart):
        if not part.pictures.is_dir():
            raise InputError(
                f"{part.pictures}: no such folder; {part.file.name} lists pictures in it. "
                "Put the pictures there."
            )
        return part.file, part.pictures, read_rows(part.file)
    if isinstance(part, YoloPart):
        return part.settings, *yolo_sections(part)
    return part.folder, *labelme_sections(part)


def _share_of(
    path: Path, images: dict[int, ImageRecord], split: Split, share: float
) -> dict[int, ImageRecord]:
    names = names_of_split((image.path.name for image in images.values()), split, share)
    kept = {number: image for number, image in images.items() if image.path.name in names}
    if not kept:
        raise InputError(
            f"{path}: {len(images)} pictures, of which a share of {share:g} is val; expected some "
            f"for {split} too. Lower --val-share, or add pictures."
        )
    return kept


def _annotations(
    path: Path,
    rows: Sequence[Row],
    images: dict[int, ImageRecord],
    kept: dict[int, ImageRecord],
    categories: dict[int, str],
) -> list[Annotation]:
    """Those of the pictures `kept`, each checked; what is odd about many is said."""
    mine = [row for row in rows if _image_of(row, images).image_id in kept]
    annotations = _with_masks(path, [_annotation(row, images, categories) for row in mine])
    _say_corners(path, annotations, images)
    return annotations


def _image_of(row: Row, images: dict[int, ImageRecord]) -> ImageRecord:
    image_id = row.whole("image_id")
    if image_id not in images:
        raise row.refused("image_id", "the id of a picture that images lists")
    return images[image_id]


def _annotation(
    row: Row, images: dict[int, ImageRecord], categories: dict[int, str]
) -> Annotation | None:
    """One checked annotation; None without a mask."""
    image, category_id = _image_of(row, images), row.whole("category_id")
    if category_id not in categories:
        raise row.refused("category_id", "an id that categories lists")
    if row.values.get("id") is not None:
        row.whole("id")
    image_hw = image.image_hw
    bbox, iscrowd = _bbox(row, max(image_hw)), row.flag("iscrowd")
    area = row.number("area", 0, float(9 * max(image_hw) ** 2))
    segmentation = checked_segmentation(row, image_hw)
    if segmentation is None:
        return None
    area = area or mask_area(segmentation, image_hw)
    return Annotation(image.image_id, category_id, bbox, segmentation, iscrowd, area)


def _hashable(value: object) -> object:
    return value if isinstance(value, str | int | float) else None


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
