"""labelme's own files: a JSON a picture, with shapes in its pixels.

    train/1.json   {"imagePath": "1.jpg", "imageHeight": 480, "imageWidth": 640, "shapes": [...]}
    labels.txt     class names in order, where there is one; else they are sorted

Files are of the split whose folder they are in, or of none. What a shape is, `labelme_shapes` says.
Source: wkentaro/labelme, labelme/label_file.py and examples/instance_segmentation.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os.path
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, first_line
from ..coco.rows import Reading, Row, shown
from ..coco.sections import Sections
from .json_kinds import json_kind
from .labelme_shapes import IGNORED, objects_of
from .layout import UNSPLIT, LabelmePart, Layout, Part
from .picture_files import PictureFiles
from .picture_sizes import TURNED, Size, orientation, size_hw
from .source import Split, split_named

_LOG = logging.getLogger(__name__)
_LABELS = "labels.txt"
_MOST_FILES = 20  # that are read to see whether they are labelme's
_UPRIGHT = 1
_REMEDY = "Open the picture in labelme and save it again."


def labelme_layout(root: Path) -> Layout | None:
    """The layout of labelme's files in `root` or below it; None where there are none.

    Raises:
        InputError: a file is no whole JSON.
    """
    files = sorted(p for p in root.rglob("*.json") if not p.name.startswith("."))
    if not any(json_kind(path) == "labelme" for path in files[:_MOST_FILES]):
        return None
    labels = {path: _labels(path) for path in files}
    by_part: dict[Split | str, list[Path]] = {}
    for path in files:
        if labels[path] is not None:
            by_part.setdefault(_part_of(path.relative_to(root)), []).append(path)
    if len(by_part) > 1 and (loose := by_part.pop(UNSPLIT, [])):
        _LOG.warning("%s: %d files are in no split's folder: left out.", root, len(loose))
    names = _names(root, {label for several in labels.values() for label in several or ()})
    parts: dict[Split | str, Part] = {
        name: LabelmePart(root, tuple(paths), names) for name, paths in by_part.items()
    }
    return Layout("labelme", parts)


def _part_of(path: Path) -> Split | str:
    """The split that a folder on the way to a file says."""
    splits = [split for name in path.parts[:-1] if (split := split_named(name)) is not None]
    return splits[-1] if splits else UNSPLIT


def _labels(file: Path) -> set[str] | None:
    """Labels of a picture's shapes; None of JSON that is not labelme's."""
    raw = _read(file)
    if not isinstance(raw, dict) or "shapes" not in raw or "imagePath" not in raw:
        return None
    return {shape["label"] for shape in _shapes(file, raw)} - set(IGNORED)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise InputError(
            f"{file}: could not be read ({first_line(err)}); expected labelme's JSON. {_REMEDY}"
        ) from err


def _shapes(file: Path, raw: dict[str, Any]) -> list[dict[str, Any]]:
    """The shapes, each known to have a label and a type or none."""
    shapes = raw["shapes"]
    if not isinstance(shapes, list):
        raise InputError(f"{file}: shapes is {shown(shapes)}; expected a list. {_REMEDY}")
    for place, shape in enumerate(shapes):
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not label.strip():
            raise InputError(
                f"{file}: shapes[{place}].label is {shown(label)}; expected a name. {_REMEDY}"
            )
        if not isinstance(kind := shape.get("shape_type"), str | None):
            raise InputError(
                f"{file}: shapes[{place}].shape_type is {shown(kind)}; expected a word like "
                f"polygon. {_REMEDY}"
            )
    return shapes


def _names(root: Path, labels: set[str]) -> tuple[str, ...]:
    """Those that `labels.txt` lists, in its order, then the others."""
    listed: list[str] = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        listed = (root / _LABELS).read_text(encoding="utf-8-sig").split("\n")
    known = [name for name in map(str.strip, listed) if name and name not in IGNORED]
    return tuple(dict.fromkeys([*known, *sorted(labels)]))


def labelme_sections(part: LabelmePart, reading: Reading) -> tuple[Path, Sections]:
    """The folder that file names are relative to, and the three lists.

    Shapes without an area are objects without a mask; how many pictures were labelled before their
    EXIF turn is remarked.

    Raises:
        InputError: a file or a shape in it is not as labelme writes it.
    """
    pictures = PictureFiles(part.folder)
    read = []
    for place, file in enumerate(part.files):
        try:
            read.append(_read_picture(part, place, pictures))
        except InputError as err:
            name = file.relative_to(part.folder).as_posix()
            reading.refuse(err, Row(file, "images", place, {"id": place + 1, "file_name": name}))
    turned = [image for image, _, turn in read if turn != _UPRIGHT]
    if turned:
        text = (
            f"{len(turned)} pictures were labelled before their EXIF turn: labels are turned with "
            "them."
        )
        reading.remark("turned picture", part.folder, text, turned)
    categories = [
        Row(part.folder, "labels", place, {"id": place + 1, "name": name})
        for place, name in enumerate(part.names)
    ]
    objects = [row for _, several, _ in read for row in several]
    images = [image for image, _, _ in read]
    return part.folder, {"images": images, "annotations": objects, "categories": categories}


def _read_picture(
    part: LabelmePart, place: int, pictures: PictureFiles
) -> tuple[Row, list[Row], int]:
    """A picture, its objects, and the EXIF orientation by which these were turned with it."""
    file, image_id = part.files[place], place + 1
    raw = _read(file)
    picture = _picture(file, raw, pictures)
    labelled_hw, (height, width), turn = _sizes(file, raw, picture)
    name = picture.relative_to(part.folder).as_posix()
    values = {"id": image_id, "file_name": name, "height": height, "width": width}
    # of an absent picture, which is refused later, the size may be any number
    shapes = _shapes(file, raw) if picture.is_file() else []
    objects = [
        Row(file, "objects", number, {"image_id": image_id, **_with_id(part, label, shape)})
        for number, (label, shape) in enumerate(objects_of(file, shapes, labelled_hw, turn))
    ]
    return Row(file, "images", place, values), objects, turn


def _with_id(part: LabelmePart, label: str, shape: dict[str, Any]) -> dict[str, Any]:
    return {"category_id": part.names.index(label) + 1, **shape}


def _picture(file: Path, raw: dict[str, Any], pictures: PictureFiles) -> Path:
    name = raw["imagePath"]
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise InputError(f"{file}: imagePath is {shown(name)}; expected a file's name. {_REMEDY}")
    above = file.parent.relative_to(pictures.folder)
    try:
        return pictures.find(os.path.normpath(above / name.replace("\\", "/")))
    except LookupError as err:
        raise InputError(
            f"{file}: imagePath {shown(name)} {err}; expected one picture. Rename one of them."
        ) from err


def _sizes(file: Path, raw: dict[str, Any], picture: Path) -> tuple[Size, Size, int]:
    """Of the labels, of the picture, and the EXIF orientation by which they differ."""
    given = (raw.get("imageHeight"), raw.get("imageWidth"))
    height, width = given
    if type(height) is int and type(width) is int and not picture.is_file():
        return (height, width), (height, width), _UPRIGHT  # require_pictures says what is absent
    found = size_hw(picture)
    if given in (found, (None, None)):
        return found, found, _UPRIGHT
    turn = orientation(picture)
    if given == found[::-1] and turn in TURNED:
        return found[::-1], found, turn
    raise InputError(
        f"{picture}: {found[0]}x{found[1]} pixels; {file.name} says {shown(given[0])}x"
        f"{shown(given[1])} (height x width). Replace the picture or its labels."
    )
