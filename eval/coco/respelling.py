"""Spellings of COCO's format that have one meaning only.

The VGG Image Annotator writes ids as texts of digits, and a mask of one polygon as that polygon's
list of numbers. LVIS names a picture by its address at COCO alone, whose end is folder and file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .rows import Reading, Row, is_number

_IDS = ("id", "image_id", "category_id")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_FEWEST = 6  # numbers of a polygon


def respell(file: Path, sections: Mapping[str, list[Row]], reading: Reading) -> None:
    """Put COCO's spelling into the rows, in place; `reading` is told how often."""
    rows = [row for section in sections.values() for row in section]
    counts = [_respell_ids(row.values) for row in rows]
    flat = [row for row in sections["annotations"] if _respell_flat(row.values)]
    if ids := sum(counts):
        text = f"{ids} ids are text, as VIA writes them: read as numbers."
        spelled = [row for row, count in zip(rows, counts, strict=True) if count]
        reading.remark("id as text", file, text, spelled)
    if flat:
        text = (
            f"{len(flat)} segmentations are one list of numbers, as VIA writes them: read as a "
            "polygon."
        )
        reading.remark("flat segmentation", file, text, flat)


def name_by_address(values: dict[str, Any]) -> None:
    """Give a picture of LVIS its file name, in place."""
    address = values.get("coco_url")
    if "file_name" not in values and type(address) is str and address.count("/") > 1:
        values["file_name"] = "/".join(address.split("/")[-2:])


def _respell_ids(values: dict[str, Any]) -> int:
    texts = [key for key in _IDS if type(values.get(key)) is str]
    whole = [key for key in texts if _WHOLE.fullmatch(values[key])]
    for key in whole:
        values[key] = int(values[key])
    return len(whole)


def _respell_flat(values: dict[str, Any]) -> bool:
    value = values.get("segmentation")
    if not isinstance(value, list) or len(value) < _FEWEST or len(value) % 2:
        return False
    if not all(map(is_number, value)):
        return False
    values["segmentation"] = [value]
    return True
