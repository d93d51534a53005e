"""Data sets of a workflow: drawn ones, and pictures with ground truth to measure on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import InputError

if TYPE_CHECKING:
    from ..eval import CocoData
    from ..eval.coco.annotations import Split


def draw_data(out: str | Path, images: int = 2000, val_images: int = 200, seed: int = 0) -> Path:
    """Draw a COCO-format data set of textured shapes into folder `out`; returns the folder.

    Raises:
        InputError: a count is below 1, or the folder cannot be written.
    """
    from ..train.shapes.drawing import draw_shapes

    require_at_least_one(images=images, val_images=val_images)
    return draw_shapes(Path(out), images, val_images, seed)


def load_data(folder: str | Path, split: Split = "val", images: int | None = None) -> CocoData:
    """Read a split of a COCO-format folder, or only the first `images` pictures of it.

    Raises:
        InputError: the folder is not usable, or `images` is below 1.
    """
    from ..eval import load_coco

    data = load_coco(Path(folder), split)
    if images is None:
        return data
    require_at_least_one(images=images)
    return data.first(images)


def require_at_least_one(**counts: int) -> None:
    """Refuse a count below 1, named as the command line spells it.

    Raises:
        InputError: there is such a count.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"--{name.replace('_', '-')} {count}: expected at least 1.")
