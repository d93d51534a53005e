"""The sentence for a folder in no known layout: what is in it, and which layout is nearest."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.pictures.sources import PICTURE_SUFFIXES
from .json_kinds import KIND_WORDS, json_files, json_kind

LAYOUTS = {
    "COCO": "annotations/instances_train.json with train/",
    "Roboflow": "train/_annotations.coco.json",
    "CVAT": "annotations/instances_default.json with images/",
    "YOLO": "data.yaml with images/ and labels/",
    "labelme": "a JSON beside each picture",
    "single JSON": "one COCO JSON with a folder of pictures beside it",
}
"""By name, what each is known by."""
_SHOWN = 6  # things in the folder
_MOST_FILES = 5_000  # looked at for suffixes


def unknown_layout(root: Path) -> InputError:
    """The error for `root`."""
    near = _nearest(root)
    known = ", ".join(name for name in LAYOUTS if name != near)
    return InputError(
        f"{root}: no known layout; found {_contents(root)}; nearest is {near}: {LAYOUTS[near]} "
        f"(others: {known}). {_remedy(root)}"
    )


def _contents(root: Path) -> str:
    folders = sorted(p.name + "/" for p in root.iterdir() if p.is_dir())
    files = sorted(p.name for p in root.iterdir() if p.is_file())
    told = [f"{p.name} ({KIND_WORDS[json_kind(p)]})" for p in _jsons(root)[:2]]
    others = [name for name in [*folders, *files] if name not in {p.name for p in _jsons(root)[:2]}]
    shown = [*told, *others][:_SHOWN]
    more = len(folders) + len(files) - len(shown)
    return (", ".join(shown) or "nothing") + (f" and {more} more" if more > 0 else "")


def _jsons(root: Path) -> list[Path]:
    return [*json_files(root), *json_files(root / "annotations")]


def _nearest(root: Path) -> str:
    suffixes = _suffixes(root)
    names = {path.name.lower() for path in root.iterdir()}
    if names & {"labels", "classes.txt"} or suffixes[".txt"] > len(names):
        return "YOLO"
    if "annotations" in names and "images" in names:
        return "CVAT"
    if names & {"train2017", "val2017", "annotations"}:
        return "COCO"
    if names & {"valid", "test"}:
        return "Roboflow"
    pictures = sum(suffixes[suffix] for suffix in PICTURE_SUFFIXES)
    return "labelme" if pictures and not suffixes[".json"] else "single JSON"


def _suffixes(root: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for _, _, names in os.walk(root):
        found.update(os.path.splitext(name)[1].lower() for name in names)
        if found.total() > _MOST_FILES:
            break
    return found


def _remedy(root: Path) -> str:
    kinds = {json_kind(path) for path in _jsons(root)[:2]}
    if kinds & {"via", "label studio"}:
        return "Export COCO's format from the tool."
    return "Export one of these, or name a pair with --images DIR --annotations FILE."
