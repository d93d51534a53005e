"""One part of a data set, a split mostly, read to its end whatever is wrong in it."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...runtime.errors import InputError
from ..coco.annotations import Annotation, read_annotation, sections_of, used_by
from ..coco.categories import read_categories
from ..coco.pictures import ImageRecord, read_images, read_record
from ..coco.rows import Row
from ..coco.sections import Sections
from ..coco.segmentations import mask_area
from ..datasets.layout import Part
from .problems import Collected, Severity, item_of
from .suspects import suspects

Told = Callable[[float, str], None]
"""How much is done, 0 to 1, and of what."""

_OF_ONE = {
    "two corners": "its box reaches beyond the picture and fits as two corners",
    "no area": "its box or its mask has no area",
    "outside": "it lies outside the picture",
    "box apart": "its box shares less than half of its area with the mask's",
    "twice": "an annotation before it is the same",
    "no pixel": "its mask has no pixel",
}
_WHOLE = 0.99  # of a picture's pixels
_AREA_FACTOR = 2.0  # between the file's area and the mask's, as COCO's size classes are 9 apart


@dataclass
class ReadPart:
    """What is good of a part, as far as it is."""

    name: str
    """Of the split."""
    file: Path
    folder: Path
    """Of the pictures."""
    images: dict[int, ImageRecord]
    categories: dict[int, str]
    objects: list[tuple[Row, Annotation]]
    """With masks, checked, in the file's order."""
    broken: set[int] = field(default_factory=set)
    """Ids of pictures that are missing, unreadable or of another size."""
    suspects: dict[str, list[int]] = field(default_factory=dict)
    """Places in `objects` under each suspicion."""


def read_part(name: str, part: Part, found: Collected, tell: Told) -> ReadPart | None:
    """Read and check a part; what is wrong goes to `found`. None where nothing can be read."""
    before = len(found.left_out)
    try:
        file, folder, rows = sections_of(part, found)
        images = read_images(file, rows["images"], folder, found)
        used = used_by(rows["annotations"])
        categories = read_categories(file, rows["categories"], used, found)
    except InputError as err:
        found.refuse(err)
        return None
    known = {"images": set(map(repr, images)), "categories": set(map(repr, categories))}
    refused = {
        (row.section, number)
        for row in found.left_out[before:]
        if (number := repr(row.values.get("id"))) not in known.get(row.section, ())
    }
    objects = list(_objects(rows, images, categories, refused, found))
    read = ReadPart(name, file, folder, images, categories, objects)
    _check_pictures(read, found, tell)
    _check_objects(read, found)
    _check_areas(read, found)
    _check_ids(rows["annotations"], found)
    _check_whole(read, found)
    return read


def _objects(
    rows: Sections,
    images: dict[int, ImageRecord],
    categories: dict[int, str],
    refused: set[tuple[str, str]],
    found: Collected,
) -> Iterator[tuple[Row, Annotation]]:
    """Those with a mask, of pictures and categories that are not `refused` themselves."""
    for row in rows["annotations"]:
        above = ("image_id", "images"), ("category_id", "categories")
        if any((section, repr(row.values[key])) in refused for key, section in above):
            continue
        try:
            annotation = read_annotation(row, images, categories)
        except InputError as err:
            found.refuse(err, row)
            continue
        if annotation is None:
            found.add("no mask", "note", row.file, item_of(row), "it has no mask: left out")
        else:
            yield row, annotation


def _check_pictures(read: ReadPart, found: Collected, tell: Told) -> None:
    """Decode each: what training would meet, hours later."""
    for place, (image_id, image) in enumerate(read.images.items()):
        tell(place / len(read.images), f"{read.name}: {image.path.name}")
        item = f"picture {image_id} ({image.path.name})"
        if not os.path.isfile(image.path):
            found.add("picture missing", "error", image.path, item, "no such file")
            read.broken.add(image_id)
            continue
        try:
            read_record(image)
        except InputError as err:
            text = str(err).removeprefix(f"{image.path}: ")
            kind = "picture's size" if "the annotations say" in text else "picture unreadable"
            found.add(kind, "error", image.path, item, text)
            read.broken.add(image_id)


def _check_objects(read: ReadPart, found: Collected) -> None:
    sizes_hw = {image_id: image.image_hw for image_id, image in read.images.items()}
    annotations = [annotation for _, annotation in read.objects]
    read.suspects = suspects(annotations, sizes_hw)
    known = {place for several in read.suspects.values() for place in several}
    empty = []
    for place, annotation in enumerate(annotations):
        if place in known or annotation.iscrowd:
            continue
        image_hw = sizes_hw[annotation.image_id]
        pixels = mask_area(annotation.segmentation, image_hw)
        if not pixels:
            empty.append(place)
        elif pixels >= _WHOLE * image_hw[0] * image_hw[1]:
            row = read.objects[place][0]
            found.add("whole picture", "note", row.file, item_of(row), "it covers its picture")
    read.suspects |= {"no pixel": empty} if empty else {}
    for kind, places in read.suspects.items():
        for place in places:
            row, annotation = read.objects[place]
            text = f"{_OF_ONE[kind]}; bbox {[*annotation.bbox]}"
            found.add(kind, "metric", row.file, item_of(row), text)


def _check_areas(read: ReadPart, found: Collected) -> None:
    """`area`, by which COCO calls an object small, medium or large."""
    given = [(row, annotation) for row, annotation in read.objects if row.values.get("area")]
    if read.objects and not given and any("area" in row.values for row, _ in read.objects):
        text = f"area is 0 or null in all {len(read.objects)} objects: counted from the masks"
        found.add("area 0", "note", read.file, "", text)
    for row, annotation in given:
        pixels = mask_area(annotation.segmentation, read.images[annotation.image_id].image_hw)
        if pixels and not 1 / _AREA_FACTOR < annotation.area / pixels < _AREA_FACTOR:
            text = f"area {annotation.area:g}, but its mask has {pixels:g} pixels"
            found.add("area", "note", row.file, item_of(row), text)


def _check_ids(rows: list[Row], found: Collected) -> None:
    """Ids of annotations, which nothing refers to here, but other tools do."""
    seen: set[str] = set()
    for row in rows:
        number = row.values.get("id")
        if number is not None and repr(number) in seen:
            text = "an annotation before it has the same id"
            found.add("annotation id twice", "note", row.file, item_of(row), text)
        seen.add(repr(number))


def _check_whole(read: ReadPart, found: Collected) -> None:
    """What is wrong with all of a part."""
    if not read.objects:
        severity: Severity = "note" if read.name in ("val", "test") else "error"
        text = f"no object in {len(read.images)} pictures; expected some to learn and to measure"
        found.add("no objects", severity, read.file, "", text)
    elif all(annotation.iscrowd for _, annotation in read.objects):
        text = f"all {len(read.objects)} objects are crowds: no example to learn, none to find"
        found.add("only crowds", "note", read.file, "", text)
