"""Where a data set keeps a split, and its annotation file as three lists of objects."""

from __future__ import annotations

import json
import os.path
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, first_line
from .rows import REMEDY, Row

NAMES = ("{split}", "{split}2017", "{split}2014")
"""The project's own, which `maskrt data shapes` writes, and COCO's as they are downloaded."""

_KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


def locate(folder: Path, split: str) -> tuple[Path, Path]:
    """Annotation file and picture folder of `split`.

    Raises:
        InputError: the data set, or either of them, is missing.
    """
    if not os.path.isdir(folder):  # pathlib's own raises for a name that is too long
        raise InputError(
            f"{folder}: no such folder; expected a COCO-format data set. "
            "Check the path, or draw one with `maskrt data shapes --out DIR`."
        )
    names = [name.format(split=split) for name in NAMES]
    pairs = [(folder / "annotations" / f"instances_{name}.json", folder / name) for name in names]
    files = [pair for pair in pairs if os.path.isfile(pair[0])]
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
        f"annotations/instances_{split}.json, or both named {split}2017 or {split}2014. "
        "Check the folder, or draw a data set with `maskrt data shapes --out DIR`."
    )


def read_rows(path: Path) -> dict[str, list[Row]]:
    """`images`, `annotations` and `categories`, every row with the keys that each must have.

    Raises:
        InputError: the file is not COCO JSON, or lists no picture or no category.
    """
    raw = _parsed(path)
    if isinstance(raw, list):
        raise _unreadable(
            path,
            "a list, which is how predictions are written",
            "To use them as ground truth, make them the annotations of a file with images and "
            "categories; area and iscrowd may be absent",
        )
    if not isinstance(raw, dict):
        raise _unreadable(path, "the JSON is no object")
    sections = {name: _rows(path, name, raw.get(name, [])) for name in _KEYS}
    if not sections["images"] or not sections["categories"]:
        raise InputError(
            f"{path}: {len(sections['images'])} images and {len(sections['categories'])} "
            f"categories; expected some of each. {REMEDY}"
        )
    return sections


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise _unreadable(path, "lists or objects nested hundreds deep") from None
    except OSError as err:
        raise _unreadable(path, err.strerror or str(err), "Check permissions") from err
    except ValueError as err:
        raise _unreadable(path, first_line(err)) from err


def _rows(path: Path, section: str, rows: Any) -> list[Row]:
    if not isinstance(rows, list):
        raise _unreadable(path, f"'{section}' is no list")
    keys = _KEYS[section]
    for place, row in enumerate(rows):
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise InputError(
                f"{path}: {section}[{place}] has no {' and no '.join(missing)}; expected COCO's "
                f"instance format. {REMEDY}"
            )
    return [Row(path, section, place, row) for place, row in enumerate(rows)]


def _unreadable(path: Path, why: str, remedy: str = "") -> InputError:
    remedy = f"{remedy}." if remedy else REMEDY
    return InputError(
        f"{path}: unreadable as COCO annotations ({why}); expected JSON with images, annotations "
        f"and categories. {remedy}"
    )
