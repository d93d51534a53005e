"""Which canvas of several a picture goes to, and what pictures lose to the canvases there are.

A canvas limits how large a picture can be: 600x800 upright becomes 600x800 on 800x1344, where the
network's own rule makes it 800x1067. The rule that chooses is `choose_canvas`, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..bundle import canvas_words
from ..contract import MOST_PX, ResizeRule
from .preprocess import scaled_size_hw

NO_LIMIT = (MOST_PX, MOST_PX)
NOTHING_LOST = 0.99
"""Share of the pixels from which on a picture counts as whole: sides are rounded."""


def kept_px(image_hw: tuple[int, int], rule: ResizeRule, canvas_hw: tuple[int, int]) -> int:
    """How many pixels a picture of that height and width has once scaled for a canvas."""
    return prod(scaled_size_hw(image_hw, rule, canvas_hw))


def choose_canvas(
    image_hw: tuple[int, int], rule: ResizeRule, canvases: Sequence[tuple[int, int]]
) -> int:
    """The place in `canvases` of the one that keeps most of a picture's pixels.

    Of canvases that keep equally many it is the smaller, of equally small ones the first.
    """
    return choose_canvas_for_all([image_hw], rule, canvases)


def choose_canvas_for_all(
    images_hw: Sequence[tuple[int, int]], rule: ResizeRule, canvases: Sequence[tuple[int, int]]
) -> int:
    """The same of several pictures that must share a canvas: most pixels of all together."""

    def worth(place: int) -> tuple[int, int]:
        canvas_hw = canvases[place]
        return sum(kept_px(hw, rule, canvas_hw) for hw in images_hw), -prod(canvas_hw)

    return max(range(len(canvases)), key=worth)


class CanvasLosses:
    """How many pictures of a run lost how many of their pixels to the canvases; it only counts."""

    def __init__(self, rule: ResizeRule, canvases: Sequence[tuple[int, int]]) -> None:
        self.pictures = 0
        """Of the run."""
        self.shrunk = 0
        """Of them, those that lost more than rounding takes."""
        self._rule, self._canvases = rule, tuple(canvases)
        self._wanted = self._kept = 0

    def add(self, image_hw: tuple[int, int]) -> None:
        """Count one picture of that height and width in pixels."""
        canvas_hw = self._canvases[choose_canvas(image_hw, self._rule, self._canvases)]
        wanted = kept_px(image_hw, self._rule, NO_LIMIT)
        kept = kept_px(image_hw, self._rule, canvas_hw)
        self.pictures += 1
        if kept < NOTHING_LOST * wanted:
            self.shrunk += 1
            self._wanted += wanted
            self._kept += kept

    @property
    def lost_share(self) -> float:
        """Of the pixels of pictures that lost some, 0 to 1."""
        return 1 - self._kept / self._wanted if self.shrunk else 0.0

    @property
    def sentence(self) -> str | None:
        """What to tell of it, and what to do; None where nothing was lost."""
        if not self.shrunk:
            return None
        several = len(self._canvases) > 1
        lose = "loses" if self.shrunk == 1 else "lose"
        todo = "add --canvas buckets" if several else "name a folder instead of a file"
        return (
            f"{self.shrunk} of {self.pictures} pictures {lose} {self.lost_share:.0%} of the pixels "
            f"of the network's own scale to the canvas{'es' if several else ''} "
            f"{canvas_words(self._canvases)}. For other shapes export a bundle: {todo}."
        )
