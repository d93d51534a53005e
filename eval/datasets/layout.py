"""A data set's layout: which tool's it is, and which files hold each split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .source import Split

UNSPLIT = "all"
"""The part of a data set that has no splits."""


@dataclass(frozen=True)
class CocoPart:
    """COCO JSON and its pictures."""

    file: Path
    pictures: Path
    """Folder that `file_name` is sought in, and in the folders below it."""


@dataclass(frozen=True)
class YoloPart:
    """Pictures with a text file of polygons each."""

    settings: Path
    """`data.yaml`."""
    pictures: tuple[Path, ...]
    names: Mapping[int, str]
    """By class number."""


@dataclass(frozen=True)
class LabelmePart:
    """labelme's JSON files, one a picture."""

    folder: Path
    files: tuple[Path, ...]
    names: tuple[str, ...]
    """Labels of the whole data set, in order of category id from 1 on."""


Part = CocoPart | YoloPart | LabelmePart


@dataclass(frozen=True)
class Layout:
    """What was found in a folder."""

    name: str
    """As a sentence says it, e.g. "Roboflow"."""
    parts: Mapping[Split | str, Part]
    """By split; `UNSPLIT` where the pictures are in none."""
