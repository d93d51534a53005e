"""Rows of a COCO file, read field by field: whatever a field holds, it is a value or a sentence.

JSON from other tools holds text where a number belongs, NaN, and numbers beyond any picture. Each
reader here gives a checked value or an `InputError` that names section, index and field, so that
nothing behind it, pycocotools above all, ever sees a value that it would crash or loop on.
"""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError

REMEDY = "Correct the file, or make or download it again."
_LARGEST_ID = 2**63 - 1  # pycocotools sorts ids as 64-bit integers

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a list of the file."""

    file: Path
    section: str
    index: int
    values: dict[str, Any]

    def refused(self, field: str, expected: str, found: str | None = None) -> InputError:
        """The sentence for a field that is not as expected; `found` replaces its value."""
        found = found or f"is {shown(self.values.get(field))}"
        return InputError(
            f"{self.file}: {self.section}[{self.index}].{field} {found}; expected {expected}. "
            f"{REMEDY}"
        )

    def whole(self, field: str, low: int = -_LARGEST_ID, high: int = _LARGEST_ID) -> int:
        """A whole number from `low` to `high`; 3.0 is one, "3" and true are none."""
        value = self.values[field]
        if type(value) is float and math.isfinite(value) and value == int(value):
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            limits = "" if high == _LARGEST_ID else f" from {low} to {high}"
            raise self.refused(field, f"a whole number{limits}")
        return value

    def text(self, field: str) -> str:
        """Text that has at least one character and can be written to a file or a terminal."""
        value = self.values[field]
        if type(value) is not str or not value.strip() or "\0" in value or not _encodes(value):
            raise self.refused(field, "a text that is not empty")
        return value

    def flag(self, field: str) -> bool:
        """0, 1, true or false; absent and null are false."""
        value = self.values.get(field)
        if value is None:
            return False
        if type(value) not in (bool, int, float) or value not in (0, 1):
            raise self.refused(field, "0 or 1")
        return bool(value)

    def number(self, field: str, low: float, high: float) -> float:
        """A finite number from `low` to `high`; absent and null are 0."""
        value = self.values.get(field)
        if value is None:
            return 0.0
        if not is_number(value) or not low <= value <= high:
            raise self.refused(field, f"a number from {low:g} to {high:g}")
        return float(value)


class Reading:
    """What becomes of faults while files are read: the first refusal ends it, remarks are logged.

    `checks` collects them instead, from the same rules.
    """

    def refuse(self, error: InputError, row: Row | None = None) -> None:
        """Take a fault that leaves `row`, or a whole picture, unread."""
        raise error

    def remark(self, kind: str, file: Path, text: str, rows: Sequence[Row] = ()) -> None:
        """Take what is read in spite of its spelling, or left out; `rows` are those meant."""
        _LOG.warning("%s: %s", file, text)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; NaN and infinity are, which a range then refuses."""
    return type(value) in (int, float)


def shown(value: Any) -> str:
    """A value as a sentence quotes it: short, however long or deeply nested it is."""
    return "null" if value is None else _QUOTE.repr(value)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


_QUOTE = reprlib.Repr()
_QUOTE.maxstring = _QUOTE.maxother = _QUOTE.maxlong = 60
_QUOTE.maxlevel = 3
