"""The classes of an annotation file, without those that are none.

Roboflow lists the project's name as a category of its own, above all others and without objects;
other tools list the background. Neither is a thing to find.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .rows import Row

_GROUND_NAMES = ("_background_", "__background__")
_DOUBTFUL_NAME = "background"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Category:
    """A class by COCO's id."""

    category_id: int
    name: str


def read_categories(file: Path, rows: Sequence[Row], used: Collection[object]) -> dict[int, str]:
    """Names by id; neither is listed twice.

    What is left out because it is no class is logged, as is a class that may be none.

    Args:
        file: of the annotations.
        rows: its categories.
        used: `category_id` of every annotation.

    Raises:
        InputError: an id or a name is missing or given twice.
    """
    categories = _checked(rows)
    unused = {number: name for number, name in categories.items() if number not in used}
    parent = _parent(rows)
    none = {n: name for n, name in unused.items() if name in _GROUND_NAMES or n == parent}
    if len(none) < len(categories):
        for number, name in none.items():
            why = "above all others" if number == parent else "the background"
            _LOG.warning("%s: category %r has no object and is %s: left out.", file, name, why)
            del categories[number]
    if _DOUBTFUL_NAME in unused.values():
        _LOG.warning(
            "%s: category %r has no object and becomes a class. Remove it from categories.",
            *(file, _DOUBTFUL_NAME),
        )
    return categories


def _checked(rows: Sequence[Row]) -> dict[int, str]:
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


def _parent(rows: Sequence[Row]) -> int | None:
    """Id of the category that is named as the supercategory of every other one but not its own."""
    above = [row.values.get("supercategory") for row in rows]
    times = Counter(name for name in above if isinstance(name, str))
    for row, its_own in zip(rows, above, strict=True):
        name = row.values["name"]
        if its_own != name and times[name] == len(rows) - 1 > 0:
            return row.whole("id")
    return None
