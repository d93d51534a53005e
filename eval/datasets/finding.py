"""Which part of a data set is a split: its own files, or a share of the pictures that are in none.

A share is by a hash of the file's name, so that the same picture is in the same split on every
machine, whatever is added beside it.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError
from .coco_files import coco_layout
from .labelme import labelme_layout
from .layout import UNSPLIT, CocoPart, Layout, Part
from .source import VAL_SHARE, DataSource, Split
from .unknown import unknown_layout
from .yolo import yolo_layout

_FINDERS: tuple[Callable[[Path], Layout | None], ...] = (coco_layout, yolo_layout, labelme_layout)


@dataclass(frozen=True)
class Found:
    """Where a split is."""

    layout: str
    """Name of the data set's layout."""
    part: Part
    share: float | None = None
    """Of the part's pictures, that is the val split; None where the part is the split."""

    def told(self, pictures: Mapping[Split, int], classes: int) -> str:
        """In a line, e.g. "Roboflow layout, 412 train, 58 val, 3 classes"."""
        counts = ", ".join(f"{count} {split}" for split, count in pictures.items())
        named = f"{classes} class" + ("es" if classes > 1 else "")
        line = f"{self.layout} layout, {counts}, {named}"
        if self.share is None:
            return line
        chosen = f"about {self.share:.0%}" if self.share < 1 else "all"
        return f"{line}; no val split, so names decide: {chosen} of the pictures are val"


def find_layout(source: DataSource) -> Layout:
    """The layout of a source.

    Raises:
        InputError: there is no such folder or file, or nothing known in it.
    """
    root = source.folder
    if not os.path.isdir(root):  # pathlib's own raises for a name that is too long
        raise _no_folder(root)
    if source.annotations is not None:
        first = _pair(root, source.annotations)
        if source.val is None:
            return Layout("pair", {UNSPLIT: first})
        return Layout("pair", {"train": first, "val": _pair(*source.val)})
    try:
        for find in _FINDERS:
            if layout := find(root):
                return layout
        raise unknown_layout(root)
    except OSError as err:
        raise InputError(
            f"{root}: could not be looked through ({err.strerror or err}); expected a labelled "
            "folder. Check permissions."
        ) from err


def _pair(pictures: Path, file: Path) -> CocoPart:
    if not os.path.isfile(file):
        raise InputError(
            f"{file}: no such file; expected COCO annotations of the pictures in {pictures}. "
            "Check the path."
        )
    if not os.path.isdir(pictures):
        raise _no_folder(pictures)
    return CocoPart(file, pictures)


def _no_folder(root: Path) -> InputError:
    if os.path.isfile(root):
        return InputError(
            f"{root}: a file; expected a labelled folder. Name its folder, or a pair with "
            "--images DIR --annotations FILE."
        )
    return InputError(
        f"{root}: no such folder; expected labelled pictures. "
        "Check the path, or draw some with `maskrt data shapes --out DIR`."
    )


def find_split(source: DataSource, split: Split) -> Found:
    """Where `split` of a source is.

    Raises:
        InputError: as `find_layout`, the data set has no such split, or a val split although a
            share of the others is asked for.
    """
    layout = find_layout(source)
    parts = layout.parts
    if source.val_share is not None and "val" in parts:
        raise InputError(
            f"{source}: --val-share {source.val_share:g} found; the {layout.name} layout in it has "
            "a val split, so none is cut off. Leave the option away."
        )
    if split in parts and not (split == "train" and "val" not in parts):
        return Found(layout.name, parts[split])
    whole = parts.get("train") or parts.get(UNSPLIT)
    if split == "test" or whole is None or "val" in parts:
        there = " and ".join(map(str, parts))
        raise InputError(
            f"{source}: no '{split}' split; found {layout.name} layout with {there}. "
            f"Name another with --split, or put annotations for {split} there."
        )
    return Found(layout.name, whole, source.val_share or VAL_SHARE)


def names_of_split(names: Iterable[str], split: Split, share: float) -> set[str]:
    """The file names of a part that are in `split`: train, or the `share` that is val.

    Each has a place from 0 to 1 by the SHA-256 of its base name; those below `share` are val, and
    where there are none the lowest is.

    Args:
        names: all of the part's.
        split: train or val.
        share: above 0 and at most 1.
    """
    places = {name: _place(name) for name in names}
    val = {name for name, place in places.items() if place < share}
    val = val or {min(places, key=lambda name: (places[name], name))}
    return val if split == "val" else places.keys() - val


def _place(name: str) -> float:
    digest = hashlib.sha256(Path(name).name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
