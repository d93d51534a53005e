"""The canvases of a bundle by name, derived from how a recipe scales pictures.

portrait-landscape   the recipe's own canvas and the same upright; one where it is square
buckets              3:2, 4:3 and 16:9 in both orientations, and square: each the smallest that
holds a large picture of that shape as the recipe scales it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...runtime.contract import ResizeRule
from ...runtime.errors import ConfigError
from ...runtime.pictures.canvases import NO_LIMIT
from ...runtime.pictures.preprocess import scaled_size_hw
from ..recipes.recipe import Recipe
from .deployment import canvas_multiple

HW = tuple[int, int]
CanvasNames = Literal["portrait-landscape", "buckets"]
NAMES: tuple[CanvasNames, ...] = ("portrait-landscape", "buckets")
SHAPES = ((2, 3), (3, 4), (9, 16), (1, 1))
"""Height to width of landscape photographs and video, and square; a large picture is some thousand
times that."""
LARGE = 4000


def canvases_of(recipe: Recipe, asked: CanvasNames | Sequence[HW]) -> tuple[HW, ...]:
    """Height and width in pixels of each canvas, the recipe's own orientation first.

    Raises:
        ConfigError: an unknown name, none at all, or one canvas twice.
    """
    if asked == "portrait-landscape":
        return _both_ways([recipe.input.canvas_hw])
    if asked == "buckets":
        large = ((LARGE * height, LARGE * width) for height, width in SHAPES)
        return _both_ways([canvas_for(recipe, hw) for hw in large])
    if isinstance(asked, str):
        raise ConfigError(
            f"canvases '{asked}': unknown; expected {' or '.join(NAMES)}, or sizes. Correct it."
        )
    if not asked or len(set(asked)) != len(asked):
        sizes = ",".join(f"{height}x{width}" for height, width in asked)
        raise ConfigError(
            f"--canvas {sizes}: none or one twice; expected sizes that differ. Correct it."
        )
    return tuple(asked)


def _both_ways(landscapes: Sequence[HW]) -> tuple[HW, ...]:
    """Each followed by the same turned, none twice."""
    return tuple(dict.fromkeys(hw for h, w in landscapes for hw in ((h, w), (w, h))))


def canvas_for(recipe: Recipe, image_hw: HW) -> HW:
    """The smallest canvas, in pixels, that holds a picture of `image_hw` at the recipe's scale."""
    source = recipe.input
    rule = ResizeRule(source.short_side_px, source.long_side_px, source.multiple_px)
    height, width = scaled_size_hw(image_hw, rule, NO_LIMIT)
    multiple = canvas_multiple(recipe)
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple
