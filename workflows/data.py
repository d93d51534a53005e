"""Data sets of a workflow: drawn ones, and pictures with ground truth to measure on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import InputError

if TYPE_CHECKING:
    from ..eval import CocoData, DataSource
    from ..eval.datasets.source import Split


def draw_data(out: str | Path, images: int = 2000, val_images: int = 200, seed: int = 0) -> Path:
    """Draw a COCO-format data set of textured shapes into folder `out`; returns the folder.

    Raises:
        InputError: a count is below 1, or the folder cannot be written.
    """
    from ..train.shapes.drawing import draw_shapes

    require_at_least_one(images=images, val_images=val_images)
    return draw_shapes(Path(out), images, val_images, seed)


def load_data(
    data: str | Path | DataSource, split: Split = "val", first: int | None = None
) -> CocoData:
    """Read a split of labelled pictures, or only the `first` ones of it.

    Args:
        data: a folder in a known layout, or a `DataSource`.
        split: `train`, `val` or `test`; where there is no val split, a share of the others is it.
        first: so many pictures, those of smallest id.

    Raises:
        InputError: the data is not usable, or `first` is below 1.
    """
    from ..eval import load_coco
    from ..eval.datasets.source import source_of

    if first is not None:
        require_at_least_one(first=first)
    return load_coco(source_of(data), split).first(first)


def require_at_least_one(**counts: int) -> None:
    """Refuse a count below 1, named as the command line spells it.

    Raises:
        InputError: there is such a count.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"--{name.replace('_', '-')} {count}: expected at least 1.")
