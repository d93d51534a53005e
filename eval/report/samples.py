"""`samples.html` of a training run: what it is given, and what its checkpoints make of pictures.

The page grows at its end, section by section, so that a run of any length holds none of it in
memory and one that was cut off leaves a page that opens; HTML may leave its last tags away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .pictures import Picture, drawn_jpeg
from .rendering import rendered

_SECTION = re.compile(r"^<!-- step (\d+) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One picture of a batch, drawn with its masks."""

    title: str
    jpeg: bytes
    objects: str
    """How many, in words."""


def sample_of(
    title: str,
    image: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.float32],
    masks: npt.NDArray[np.uint8],
    labels: Sequence[int],
    class_names: Sequence[str],
) -> Sample:
    """Draw one picture as training gets it.

    Args:
        title: what to call it.
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float32 xyxy in pixels.
        masks: (N, H, W) uint8, 1 inside.
        labels: N labels.
        class_names: by label.
    """
    names = [class_names[label] for label in labels]
    jpeg = drawn_jpeg(image, masks, boxes, names, labels)
    return Sample(title, jpeg, in_words(len(names)))


def in_words(objects: int) -> str:
    """How many objects there are."""
    return f"{objects} object{'' if objects == 1 else 's'}"


def samples_page(title: str, note: str, samples: Sequence[Sample]) -> str:
    """The page's beginning, before the first step."""
    return rendered("samples.html", title=title, note=note, samples=samples)


def evaluation_section(step: int, sentence: str, pictures: Sequence[Picture]) -> str:
    """What comes at its end after an evaluation."""
    return rendered("evaluation.html", step=step, sentence=sentence, pictures=pictures)


def without_later(page: str, step: int) -> str:
    """The page without the sections of steps after `step`, which come again."""
    later = (found.start() for found in _SECTION.finditer(page) if int(found[1]) > step)
    return page[: next(later, len(page))]
