"""All masks of a picture at once: COCO's counts of each, and the box of its pixels.

What `Instances` keeps of its masks, because pasting is what they cost. Here on the CPU, mask by
mask around its foreground; `gpu/masks.py` gives the same numbers from a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .mask_upsampling import upsampled
from .masks import Bool, Float, foreground_box, paste_one
from .rle import Counts, counts_from_crop

TOGETHER = 16
"""Masks upsampled at a time: 1.6 MB of 160 x 160 cells stay in cache, 1000 masks would be 100."""


@dataclass(frozen=True)
class FramedMasks:
    """N masks of one picture as a network gives them, and how they become pixels."""

    probs: Float
    """(N, m, m) float32 probabilities in [0, 1], each in its frame."""
    frames: Float
    """(N, 4) float32 xyxy in picture pixels; may reach outside the picture."""
    image_hw: tuple[int, int]
    """Height and width of the picture, in pixels."""
    threshold: float
    """Probabilities at or above it are foreground."""
    upsampling: int
    """Masks are made this many times finer, as logits, before they are pasted."""

    def __len__(self) -> int:
        return len(self.probs)

    def parts(self, together: int) -> Iterator[tuple[Float, Float]]:
        """Finer maps (n, M, M) and their frames (n, 4), at most `together` at a time, in order."""
        for start in range(0, len(self), together):
            part = slice(start, start + together)
            yield upsampled(self.probs[part], self.upsampling), self.frames[part]


@dataclass(frozen=True)
class Pasted:
    """What is kept of N pasted masks."""

    counts: list[Counts]
    """COCO's uncompressed counts of each, for `rle.compress`."""
    boxes: Float
    """(N, 4) float32 xyxy of each one's pixels; zeros where it has none."""


Paster = Callable[[FramedMasks], Pasted]
"""Where masks are pasted: `paste_on_cpu` here, or a GPU."""


def crops(masks: FramedMasks) -> Iterator[tuple[Bool, tuple[int, int]]]:
    """Each mask around its foreground and its top left pixel, in order; see `masks.paste_one`."""
    for maps, frames in masks.parts(TOGETHER):
        for one, frame in zip(maps, frames, strict=True):
            yield paste_one(one, frame, masks.image_hw, masks.threshold)


def paste_on_cpu(masks: FramedMasks) -> Pasted:
    """Paste each mask around its foreground; no full-size mask is ever held."""
    counts: list[Counts] = []
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for crop, origin in crops(masks):
        boxes[len(counts)] = foreground_box(crop, origin)
        counts.append(counts_from_crop(crop, origin, masks.image_hw))
    return Pasted(counts, boxes)


def box_from_counts(counts: Counts, height: int) -> tuple[int, int, int, int]:
    """Box of a mask's pixels, xyxy; all zeros when it has none.

    Args:
        counts: COCO's uncompressed counts, runs of 0 first.
        height: of the picture, in pixels.

    Source: COCO's toBbox, which gives the same as xywh.
    """
    ends = np.cumsum(counts)
    first, last = ends[: len(ends) // 2 * 2 : 2], ends[1::2] - 1  # pixels of each run of 1
    if not len(first):
        return 0, 0, 0, 0
    columns, rows = first // height, first % height
    last_columns, last_rows = last // height, last % height
    top, bottom = int(rows.min()), int(last_rows.max()) + 1
    if (last_columns > columns).any():  # such a run ends one column and begins the next
        top, bottom = 0, height
    return int(columns[0]), top, int(last_columns[-1]) + 1, bottom
