"""The classes of an annotation file, without those that are none.

Roboflow lists the project's name as a category of its own, above all others and without objects;
other tools list the background. Neither is a thing to find.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError
from .rows import Reading, Row

_GROUND_NAMES = ("_background_", "__background__")
_DOUBTFUL_NAME = "background"


@dataclass(frozen=True)
class Category:
    """A class by COCO's id."""

    category_id: int
    name: str


def read_categories(
    file: Path, rows: Sequence[Row], used: Collection[object], reading: Reading
) -> dict[int, str]:
    """Names by id; neither is listed twice.

    What is left out because it is no class is remarked, as is a class that may be none.

    Args:
        file: of the annotations.
        rows: its categories.
        used: `category_id` of every annotation.
        reading: takes faults and remarks.

    Raises:
        InputError: an id or a name is missing or given twice.
    """
    by_id = _checked(rows, reading)
    categories = {number: row.text("name") for number, row in by_id.items()}
    unused = {number: name for number, name in categories.items() if number not in used}
    parent = _parent([*by_id.values()])
    none = {n: name for n, name in unused.items() if name in _GROUND_NAMES or n == parent}
    if len(none) < len(categories):
        for number, name in none.items():
            why = "above all others" if number == parent else "the background"
            text = f"category {name!r} has no object and is {why}: left out."
            reading.remark("no class", file, text, [by_id[number]])
            del categories[number]
    doubtful = [by_id[number] for number, name in unused.items() if name == _DOUBTFUL_NAME]
    if doubtful:
        text = (
            f"category {_DOUBTFUL_NAME!r} has no object and becomes a class. Remove it from "
            "categories."
        )
        reading.remark("doubtful class", file, text, doubtful)
    return categories


def _checked(rows: Sequence[Row], reading: Reading) -> dict[int, Row]:
    by_id: dict[int, Row] = {}
    names: set[str] = set()
    for row in rows:
        try:
            number, name = _category(row, by_id, names)
        except InputError as err:
            reading.refuse(err, row)
            continue
        by_id[number] = row
        names.add(name)
    return by_id


def _category(row: Row, ids: Collection[int], names: Collection[str]) -> tuple[int, str]:
    number, name = row.whole("id"), row.text("name")
    if number in ids:
        raise row.refused("id", "an id of its own for each category")
    if name in names:
        raise row.refused("name", "names that tell the categories apart")
    return number, name


def _parent(rows: Sequence[Row]) -> int | None:
    """Id of the category that is named as the supercategory of every other one but not its own."""
    above = [row.values.get("supercategory") for row in rows]
    times = Counter(name for name in above if isinstance(name, str))
    for row, its_own in zip(rows, above, strict=True):
        name = row.values["name"]
        if its_own != name and times[name] == len(rows) - 1 > 0:
            return row.whole("id")
    return None
