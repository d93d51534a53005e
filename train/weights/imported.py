"""Whose weights a checkpoint holds where maskrt did not train them, as its header says it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from ...runtime.errors import InputError, first_line
from ...runtime.files import sha256_of
from ...runtime.json_values import decoded, parse_json


@dataclass(frozen=True)
class Imported:
    """The file that weights were taken from."""

    title: str
    """Whose network it is, e.g. "Detectron2 Mask R-CNN C4"."""
    file: str
    """Its name, without the folder."""
    sha256: str
    rest: str = ""
    """What no weights were in the file for, e.g. "heads"; empty when all were."""
    settings: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file the settings are from, by its name; empty when they are the recipe's."""

    @property
    def words(self) -> str:
        """In half a sentence, e.g. "imported from model_final.pkl (Detectron2 Mask R-CNN C4)"."""
        untrained = f", {self.rest} untrained" if self.rest else ""
        return f"imported from {self.file} ({self.title}){untrained}"

    def to_json(self) -> str:
        """As the header holds it."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def imported_from(
    file: Path, title: str, *, rest: str = "", settings: dict[str, str] | None = None
) -> Imported:
    """What to write of a file that was read; arguments as the fields of `Imported`."""
    named = {_as_text(name): sha256 for name, sha256 in (settings or {}).items()}
    return Imported(title, _as_text(file.name), sha256_of(file), rest, named)


def _as_text(name: str) -> str:
    """A file's name, which need be no UTF-8, as text that any output takes."""
    return name.encode(errors="replace").decode()


def imported_in(text: str | None, path: Path, key: str) -> Imported | None:
    """What the header of checkpoint `path` says under `key`; None where it says nothing.

    Raises:
        InputError: it says something else.
    """
    if text is None:
        return None
    try:
        return decoded(Imported, parse_json(text))
    except ValueError as err:
        raise InputError(
            f"{path}: {key} in its header is unreadable ({first_line(err)}); expected what the "
            "weights were imported from. Copy it again, or import them again."
        ) from err
