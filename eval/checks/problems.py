"""What a check finds, each with file and id, and how the reader's refusals become such finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...runtime.errors import InputError
from ..coco.rows import Reading, Row, shown

Severity = Literal["error", "metric", "note"]
"""`error`: cannot be read; `metric`: changes a metric in silence, an error unless one is lenient;
`note`: is read, or left out, with a word."""

_WORDS = {"images": "picture", "annotations": "annotation", "categories": "category"}


@dataclass(frozen=True)
class Problem:
    """One find."""

    kind: str
    """Under which it is counted."""
    severity: Severity
    file: Path
    """The annotations', or the picture's."""
    item: str
    """What of the file, by its id; "" for all of it."""
    text: str

    def __str__(self) -> str:
        """As a line of a list."""
        where = f"{self.file}: {self.item}" if self.item else str(self.file)
        return f"{where}: {self.text}"


class Collected(Reading):
    """Faults and remarks of the reader as problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.left_out: list[Row] = []
        """Rows that were refused."""

    def add(self, kind: str, severity: Severity, file: Path, item: str, text: str) -> None:
        """Take one find."""
        self.problems.append(Problem(kind, severity, file, item, text))

    def refuse(self, error: InputError, row: Row | None = None) -> None:
        """Take a fault; the reader goes on without the row."""
        if row is None:
            place, _, text = str(error).partition(": ")
            self.add("unreadable", "error", Path(place), "", text)
            return
        self.left_out.append(row)
        text = str(error).removeprefix(f"{row.file}: ")
        word = _WORDS.get(row.section, row.section)
        self.add(f"{word} refused", "error", row.file, item_of(row), text)

    def remark(self, kind: str, file: Path, text: str, rows: Sequence[Row] = ()) -> None:
        """Take what the reader says, once for each row that is meant."""
        for row in rows:
            self.add(kind, "note", row.file, item_of(row), text)
        if not rows:
            self.add(kind, "note", file, "", text)


def item_of(row: Row) -> str:
    """A row by its id and, where it has one, its name; without an id by its place."""
    number = row.values.get("id")
    if number is None:
        return f"{row.section}[{row.index}]"
    name = row.values.get("file_name", row.values.get("name"))
    plain = isinstance(name, str) and name.isprintable()
    named = "" if name is None else f" ({name if plain else shown(name)})"
    return f"{_WORDS.get(row.section, row.section)} {shown(number)}{named}"
