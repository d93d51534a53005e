"""The verdicts of a search as they come, in a file: an interrupted one goes on where it was.

JSON lines. The first names what the verdicts hold for, a hash of the checkpoint, the pictures and
every option: a journal of anything else begins anew. A last line that was cut is measured again.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from ...runtime.files import write_error, write_text
from ...runtime.json_values import decoded, parse_json
from .verdict import Verdict


class Journal:
    """What was measured, by name of the candidate; kept in a file where one is named."""

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        """Read what is there of the same `key`.

        Raises:
            InputError: the file cannot be read or written.
        """
        self._path = path
        self.known: dict[str, Verdict] = {}
        if path is not None:
            self._open(path, json.dumps({"key": key}))
        self.found = len(self.known)
        """Verdicts that were there already."""

    def add(self, candidate: str, verdict: Verdict) -> None:
        """Keep one verdict; it is on the disk when this returns."""
        self.known[candidate] = verdict
        if self._path is None:
            return
        line = json.dumps({"candidate": candidate, "verdict": dataclasses.asdict(verdict)})
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as err:
            raise write_error(self._path, err) from err

    def _open(self, path: Path, head: str) -> None:
        first, *lines = _lines(path) or [""]
        if first != head:
            lines = []
        read = [entry for entry in map(_entry, lines) if entry is not None]
        self.known = dict(read)
        kept = [line for line in lines if _entry(line) is not None]
        write_text(path, "\n".join([head, *kept]) + "\n")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, ValueError) as err:
        raise InputError(
            f"{path}: cannot be read as a search's journal ({err}); expected JSON lines. Remove it."
        ) from err


def _entry(line: str) -> tuple[str, Verdict] | None:
    """One verdict and whose it is; None where the line is not whole."""
    try:
        raw: Any = parse_json(line)
        return decoded(str, raw["candidate"]), decoded(Verdict, raw["verdict"])
    except (ValueError, KeyError, TypeError):
        return None
