"""COCO JSON as tools lay it out: where the files of each split are, and their pictures.

    annotations/instances_val2017.json   val2017/       COCO, as downloaded; any year or none
    annotations/instances_default.json   images/        CVAT
    valid/_annotations.coco.json         valid/         Roboflow
    annotations.json                     JPEGImages/    labelme2coco
    ANY.json                             ANY/           one JSON beside pictures

A file belongs to the split that a word of its name, or its folder, says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import InputError
from .json_kinds import json_files, json_kind
from .layout import UNSPLIT, CocoPart, Layout, Part
from .source import SPLIT_WORDS, Split, split_named

SHARED_FOLDERS = ("images", "JPEGImages")
"""What tools call the folder of all pictures."""
_ROBOFLOW = "_annotations.coco"
_MOST_FILES = 20  # JSON files that are read to see what they are


def coco_layout(root: Path) -> Layout | None:
    """The layout of the COCO JSON in `root`; None where there is none.

    Raises:
        InputError: several files, and no name says which is for what.
    """
    files = _files_beside(root)
    if not files:
        return _folder_a_split(root)
    return Layout(_name(root, files), _parts_beside(root, files))


def _files_beside(root: Path) -> list[Path]:
    """COCO JSON in the data set's folder or its `annotations`."""
    named = json_files(root / "annotations", "instances_*.json")
    if named:
        return named
    files = [*json_files(root), *json_files(root / "annotations")]
    found = []
    for path in files[:_MOST_FILES]:
        kind = json_kind(path)
        if kind == "labelme":
            return []  # as all the others will be
        if kind == "coco":
            found.append(path)
    return found


def _parts_beside(root: Path, files: Sequence[Path]) -> dict[Split | str, Part]:
    splits = {path: _split_of(path) for path in files}
    loose = [path for path in files if splits[path] is None]
    parts: dict[Split | str, Part] = {
        split: _best(root, split, [path for path in files if splits[path] == split])
        for split in SPLIT_WORDS
        if split in splits.values()
    }
    if parts.keys() & {"train", "val"} or not loose:
        return parts
    if len(loose) > 1:
        one, other = loose[:2]
        raise InputError(
            f"{root}: {one.name} and {other.name} are both COCO annotations; expected names that "
            "say train and val, or one file. Name one with --images DIR --annotations FILE."
        )
    parts[UNSPLIT] = CocoPart(loose[0], _shared_folder(root) or root)
    return parts


def _split_of(path: Path) -> Split | None:
    words = re.findall("[a-z]+", path.stem.lower())
    splits = {split for word in words if (split := split_named(word)) is not None}
    return splits.pop() if len(splits) == 1 else None


def _best(root: Path, split: Split, files: Sequence[Path]) -> CocoPart:
    """Of several files one with pictures of its own; then the shortest name, the latest year."""
    parts = [_coco_part(root, split, path) for path in sorted(files, reverse=True)]
    return min(parts, key=lambda part: (not part.pictures.is_dir(), len(part.file.stem)))


def _coco_part(root: Path, split: Split, file: Path) -> CocoPart:
    return CocoPart(file, _picture_folder(root, split, file) or root / _label(file))


def _label(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _picture_folder(root: Path, split: Split, file: Path) -> Path | None:
    """Where the pictures of a split's file are; never another split's folder."""
    below = folders_in(root)
    images = below.get("images")
    names = (_label(file).lower(), *SPLIT_WORDS[split])
    nested = folders_in(images) if images is not None else {}
    own = [there[name] for name in names for there in (below, nested) if name in there]
    if own:
        return own[0]
    return _shared_folder(root) or _only_folder(below)


def folders_in(folder: Path) -> dict[str, Path]:
    """Folders in a folder by their names in small letters, hidden ones apart."""
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return {path.name.lower(): path for path in found}


def _shared_folder(root: Path) -> Path | None:
    found = [root / name for name in SHARED_FOLDERS if (root / name).is_dir()]
    return found[0] if found else None


def _only_folder(below: dict[str, Path]) -> Path | None:
    """The one that can only be the pictures'."""
    others = [
        path
        for name, path in below.items()
        if name != "annotations" and split_named(name.rstrip("0123456789")) is None
    ]
    return others[0] if len(others) == 1 else None


def _name(root: Path, files: Sequence[Path]) -> str:
    names = {path.name for path in files}
    if "instances_default.json" in names:
        return "CVAT"
    if any(name.startswith("instances_") for name in names):
        return "COCO"
    if any(name.startswith(_ROBOFLOW) for name in names):
        return "Roboflow"
    if "annotations.json" in names and (root / "JPEGImages").is_dir():
        return "labelme2coco"
    return "single-JSON" if len(names) == 1 else "COCO"


def _folder_a_split(root: Path) -> Layout | None:
    parts: dict[Split | str, Part] = {}
    names = set()
    for name, folder in folders_in(root).items():
        split = split_named(name)
        file = None if split is None else _file_in(folder)
        if split is not None and file is not None:
            parts[split] = CocoPart(file, folder)
            names.add(file.name)
    if not parts:
        return None
    roboflow = all(name.startswith(_ROBOFLOW) for name in names)
    return Layout("Roboflow" if roboflow else "COCO", parts)


def _file_in(folder: Path) -> Path | None:
    """The annotations among a split's pictures."""
    files = json_files(folder)
    roboflow = [path for path in files if path.name.startswith(_ROBOFLOW)]
    if roboflow:
        return roboflow[0]
    for path in files[:_MOST_FILES]:
        kind = json_kind(path)
        if kind == "labelme":
            return None
        if kind == "coco":
            return path
    return None
