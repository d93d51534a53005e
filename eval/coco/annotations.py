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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.files import sha256_of
from ..checks.suspects import require_plausible
from ..datasets.finding import Found, find_split, names_of_split
from ..datasets.labelme import labelme_sections
from ..datasets.layout import CocoPart, Part, YoloPart
from ..datasets.source import DataSource, Split, source_of
from ..datasets.yolo import yolo_sections
from .categories import Category, read_categories
from .pictures import ImageRecord, read_images
from .rows import REMEDY, Reading, Row, is_number
from .sections import Sections, read_rows
from .segmentations import Segmentation, checked_segmentation, mask_area, reach

Box = tuple[float, float, float, float]


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

    How many objects have no mask and are left out, categories that are no classes, and pictures
    found elsewhere than said are logged as warnings.

    Raises:
        InputError: the folder, its annotations or its pictures' folder is missing, a file is not
            what its layout says, a value in it is impossible, no object has a mask, or many are
            probably wrong (`checks.suspects`) and the source is not lenient.
    """
    source, reading = source_of(data), Reading()
    found = find_split(source, split)
    path, folder, rows = sections_of(found.part, reading)
    images = read_images(path, rows["images"], folder, reading)
    categories = read_categories(path, rows["categories"], used_by(rows["annotations"]), reading)
    kept = images if found.share is None else _share_of(path, images, split, found.share)
    mine = [row for row in rows["annotations"] if _image_of(row, images).image_id in kept]
    annotations = [read_annotation(row, images, categories) for row in mine]
    with_masks = _with_masks(path, annotations, reading)
    sizes_hw = {image_id: image.image_hw for image_id, image in kept.items()}
    require_plausible(path, with_masks, sizes_hw, lenient=source.lenient)
    return CocoSplit(
        annotation_file=path,
        images=tuple(kept[image_id] for image_id in sorted(kept)),
        annotations=tuple(with_masks),
        categories=tuple(Category(*pair) for pair in sorted(categories.items())),
        found=found,
    )


def sections_of(part: Part, reading: Reading) -> tuple[Path, Path, Sections]:
    """The file that errors name, the folder of the pictures, and COCO's three lists.

    Args:
        part: of a layout.
        reading: takes faults of single rows, and remarks.

    Raises:
        InputError: a file is not what its layout says, or the pictures' folder is missing.
    """
    if isinstance(part, CocoPart):
        if not part.pictures.is_dir():
            raise InputError(
                f"{part.pictures}: no such folder; {part.file.name} lists pictures in it. "
                "Put the pictures there."
            )
        return part.file, part.pictures, read_rows(part.file, reading)
    if isinstance(part, YoloPart):
        return part.settings, *yolo_sections(part, reading)
    return part.folder, *labelme_sections(part, reading)


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


def _image_of(row: Row, images: dict[int, ImageRecord]) -> ImageRecord:
    image_id = row.whole("image_id")
    if image_id not in images:
        raise row.refused("image_id", "the id of a picture that images lists")
    return images[image_id]


def read_annotation(
    row: Row, images: dict[int, ImageRecord], categories: dict[int, str]
) -> Annotation | None:
    """One checked annotation; None without a mask.

    Args:
        row: of the file.
        images: by id.
        categories: names by id.

    Raises:
        InputError: a value is impossible, or its picture or category is not listed.
    """
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


def used_by(rows: Sequence[Row]) -> set[object]:
    """`category_id` of every annotation, as it is written."""
    return {_hashable(row.values["category_id"]) for row in rows}


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


def _with_masks(
    path: Path, found: Sequence[Annotation | None], reading: Reading
) -> list[Annotation]:
    """Those that are no None; says how many are."""
    kept = [annotation for annotation in found if annotation is not None]
    if found and not kept:
        raise InputError(
            f"{path}: none of the {len(found)} annotations has a mask; expected polygons or an RLE "
            f"in segmentation. {REMEDY}"
        )
    if len(kept) < len(found):
        left_out = len(found) - len(kept)
        text = f"{left_out} of {len(found)} objects have no mask: left out."
        reading.remark("no mask", path, text)
    return kept
