"""A page of labelled pictures with their masks, to look at before anything is trained on them."""

from __future__ import annotations

import numpy as np

from ..coco.data import CocoData
from .pictures import truth_jpeg
from .rendering import rendered
from .samples import Sample, in_words

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
    samples = []
    for place in steps.round().astype(int).tolist():
        record = data.images[place]
        jpeg, objects = truth_jpeg(data, record)
        title = f"{record.path.name} ({record.image_id})"
        samples.append(Sample(title, jpeg, in_words(objects)))
    title = f"{data.folder.name}: {data.split}"
    page = rendered("labelled.html", title=title, told=data.told, note=_NOTE, samples=samples)
    return page, len(samples)
