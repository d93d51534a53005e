"""An annotation file as three lists of objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, first_line
from .respelling import name_by_address, respell
from .rows import REMEDY, Reading, Row

_KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


Sections = Mapping[str, list[Row]]
"""`images`, `annotations` and `categories`."""


def read_rows(path: Path, reading: Reading | None = None) -> Sections:
    """The three lists of a file, every row with the keys that each must have.

    What VIA spells in its own way is respelled, and `reading` is told so.

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
    reading = reading or Reading()
    sections = {name: _rows(path, name, raw.get(name, []), reading) for name in _KEYS}
    respell(path, sections, reading)
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


def _rows(path: Path, section: str, rows: Any, reading: Reading) -> list[Row]:
    if not isinstance(rows, list):
        raise _unreadable(path, f"'{section}' is no list")
    keys, whole = _KEYS[section], []
    for place, values in enumerate(rows):
        row = Row(path, section, place, values if isinstance(values, dict) else {})
        if section == "images":
            name_by_address(row.values)
        missing = [key for key in keys if key not in row.values]
        if not missing:
            whole.append(row)
            continue
        error = InputError(
            f"{path}: {section}[{place}] has no {' and no '.join(missing)}; expected COCO's "
            f"instance format. {REMEDY}"
        )
        reading.refuse(error, row)
    return whole


def _unreadable(path: Path, why: str, remedy: str = "") -> InputError:
    remedy = f"{remedy}." if remedy else REMEDY
    return InputError(
        f"{path}: unreadable as COCO annotations ({why}); expected JSON with images, annotations "
        f"and categories. {remedy}"
    )
