"""What is wrong between the parts of a data set: pictures in two of them, or in none."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.files import sha256_of
from ...runtime.pictures.sources import PICTURE_SUFFIXES
from .parts import ReadPart
from .problems import Collected


def check_across(parts: Sequence[ReadPart], found: Collected) -> None:
    """Add what is wrong between `parts`: repeated pictures, other classes, unlisted pictures."""
    _check_repeated(parts, found)
    _check_classes(parts, found)
    _check_unlisted(parts, found)


def _check_repeated(parts: Sequence[ReadPart], found: Collected) -> None:
    """The same bytes under two names; a val picture that was learnt measures nothing."""
    by_bytes: dict[int, list[tuple[str, int, Path]]] = defaultdict(list)
    for part in parts:
        for image_id, image in part.images.items():
            if image_id not in part.broken:
                by_bytes[image.path.stat().st_size].append((part.name, image_id, image.path))
    for several in by_bytes.values():
        if len(several) > 1:
            _check_equal(several, found)


def _check_equal(several: Iterable[tuple[str, int, Path]], found: Collected) -> None:
    first: dict[str, tuple[str, Path]] = {}
    for part, image_id, path in several:
        other, there = first.setdefault(sha256_of(path), (part, path))
        if (other, there) == (part, path):
            continue
        item = f"picture {image_id} ({path.name})"
        if part == other:
            text = f"the same picture as {there.name}"
            found.add("picture twice", "note", path, item, text)
        else:
            text = f"it is in {part} and, as {there.name}, in {other} too"
            found.add("picture in two splits", "metric", path, item, text)


def _check_classes(parts: Sequence[ReadPart], found: Collected) -> None:
    from ..coco.data import name_difference

    named = [part for part in parts if part.categories]
    for one, other in itertools.pairwise(named):
        names = [*one.categories.values()], [*other.categories.values()]
        if differ := name_difference(names[0], names[1], (one.name, other.name)):
            text = f"{one.name} and {other.name} have different categories: {differ}"
            found.add("classes differ", "error", other.file, "", text)


def _check_unlisted(parts: Sequence[ReadPart], found: Collected) -> None:
    """Pictures beside those listed, which somebody may have forgotten to label."""
    listed = {image.path for part in parts for image in part.images.values()}
    named = {Path(str(row.values.get("file_name"))).name for row in found.left_out}
    for folder in dict.fromkeys(part.folder for part in parts):
        for path in _pictures(folder):
            if path not in listed and path.name not in named:
                found.add("not listed", "note", path, path.name, "no annotations list it")


def _pictures(folder: Path) -> list[Path]:
    try:
        files = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES
        )
    except OSError as err:
        raise InputError(
            f"{folder}: could not be looked through ({err.strerror or err}); expected the "
            "pictures' folder. Check permissions."
        ) from err
    return [path for path in files if path.is_file() and not path.name.startswith(".")]
