"""What a data set holds, and what a network can find of it: classes, sizes, objects a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..report.table import Table
from .parts import ReadPart
from .problems import Collected


@dataclass(frozen=True)
class Ruler:
    """What objects are held against."""

    name: str
    """Of the recipe."""
    anchors_px: tuple[float, ...]
    """Sides of its anchors in the scaled picture; none of a network without any."""
    short_side_px: int
    """Of the scaled picture at test time."""
    long_side_px: int
    """At most."""
    slots: int
    """Detections of a picture."""


def tables_of(parts: Sequence[ReadPart], ruler: Ruler) -> list[Table]:
    """Objects of each class, their sizes and how many a picture has, by split."""
    names = tuple(part.name for part in parts)
    tables = [Table("Objects of each class", ("class", *names), _classes(parts), keys=1)]
    if ruler.anchors_px:
        tables.append(_sizes(parts, ruler))
    rows = [_pictures(part, ruler) for part in parts]
    columns = ("split", "pictures", "without objects", "objects", "most in one", "over the slots")
    title = f"Objects a picture; {ruler.name} has {ruler.slots} slots"
    return [*tables, Table(title, columns, tuple(rows), keys=1)]


def check_slots(part: ReadPart, ruler: Ruler, found: Collected) -> None:
    """Note the pictures with more objects than slots, which no prediction can find all of."""
    for image_id, count in _counts(part).items():
        if count > ruler.slots:
            image = part.images[image_id]
            text = f"{count} objects, of which at most {ruler.slots} can be found"
            item = f"picture {image_id} ({image.path.name})"
            found.add("more than slots", "note", part.file, item, text)


def _classes(parts: Sequence[ReadPart]) -> tuple[tuple[str, ...], ...]:
    names = dict.fromkeys(name for part in parts for name in part.categories.values())
    counts = [
        Counter(part.categories[one.category_id] for _, one in part.objects if not one.iscrowd)
        for part in parts
    ]
    return tuple((name, *(str(count[name]) for count in counts)) for name in names)


def _sizes(parts: Sequence[ReadPart], ruler: Ruler) -> Table:
    """Each object beside the anchor that is nearest by ratio."""
    anchors = np.array(sorted(ruler.anchors_px))
    sides = [_sides(part, ruler) for part in parts]
    nearest = [np.abs(np.log(side[:, None] / anchors)).argmin(axis=1) for side in sides]
    counts = [np.bincount(near, minlength=len(anchors)) for near in nearest]
    rows = tuple(
        (f"{anchor:g} px", *(str(count[place]) for count in counts))
        for place, anchor in enumerate(anchors)
    )
    small = sum(int((side < anchors[0] / 2).sum()) for side in sides)
    large = sum(int((side > anchors[-1] * 2).sum()) for side in sides)
    note = (
        f"{small} objects are under half of the least anchor, {large} over twice the greatest; "
        f"sides of boxes when the shorter side of pictures is {ruler.short_side_px} px."
    )
    columns = ("nearest anchor", *(part.name for part in parts))
    return Table(f"Objects against the anchors of {ruler.name}", columns, rows, (note,), keys=1)


def _sides(part: ReadPart, ruler: Ruler) -> npt.NDArray[np.float64]:
    """Root of each box's area in the scaled picture, (N,); boxes without an area apart."""
    sides = []
    for _, annotation in part.objects:
        short, long = sorted(part.images[annotation.image_id].image_hw)
        scale = min(ruler.short_side_px / short, ruler.long_side_px / long)
        sides.append(scale * (annotation.bbox[2] * annotation.bbox[3]) ** 0.5)
    found = np.array(sides, np.float64)
    return found[found > 0]


def _pictures(part: ReadPart, ruler: Ruler) -> tuple[str, ...]:
    counts = _counts(part)
    over = sum(count > ruler.slots for count in counts.values())
    numbers = (
        *(len(part.images), len(part.images) - len(counts), counts.total()),
        *(max(counts.values(), default=0), over),
    )
    return (part.name, *map(str, numbers))


def _counts(part: ReadPart) -> Counter[int]:
    return Counter(one.image_id for _, one in part.objects if not one.iscrowd)
