"""A page of labelled pictures with their masks, to look at before anything is trained on them."""

from __future__ import annotations

import numpy as np

from ..coco.data import CocoData
from .pictures import labelled_picture
from .rendering import rendered

_NOTE = (
    "At even distances through the split, as the reader gives them: one colour a class, boxes and "
    "masks of single objects, crowds left out."
)


def labelled_page(data: CocoData, count: int) -> tuple[str, int]:
    """The page as text that refers to nothing outside itself, and how many pictures are on it.

    Args:
        data: a split.
        count: pictures at most.

    Raises:
        InputError: a picture is broken.
    """
    steps = np.linspace(0, len(data.images) - 1, min(count, len(data.images)))
    pictures = [labelled_picture(data, data.images[place]) for place in steps.round().astype(int)]
    title = f"{data.folder.name}: {data.split}"
    page = rendered("labelled.html", title=title, told=data.told, note=_NOTE, pictures=pictures)
    return page, len(pictures)
