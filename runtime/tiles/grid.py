"""Where the tiles of a picture lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
import numpy.typing as npt

from ..errors import InputError

LEAST_TILE_PX = 64
OVERLAP = 5
"""The overlap is a fifth of the side where nobody says another one, as in SAHI."""
NEAR = 100
"""A hundredth of the side: boxes of a network end so near the border of a tile that cuts them."""


@dataclass(frozen=True)
class Tile:
    """A part of a picture, in its pixels."""

    top: int
    left: int
    bottom: int
    right: int

    def cut(
        self, boxes: npt.NDArray[np.float32], image_hw: tuple[int, int]
    ) -> npt.NDArray[np.bool_]:
        """Which boxes, (N, 4) xyxy in pixels of the picture, end at a border inside it: (N,)."""
        height, width = image_hw
        near = max(self.bottom - self.top, self.right - self.left) / NEAR
        x0, y0, x1, y1 = boxes.T
        found = np.zeros(len(boxes), dtype=np.bool_)
        found |= (self.left > 0) & (x0 < self.left + near)
        found |= (self.top > 0) & (y0 < self.top + near)
        found |= (self.right < width) & (x1 > self.right - near)
        found |= (self.bottom < height) & (y1 > self.bottom - near)
        return found


@dataclass(frozen=True)
class TileSize:
    """The side of a tile and how far neighbours overlap, in pixels."""

    side_px: int
    overlap_px: int

    def tiles(self, image_hw: tuple[int, int]) -> list[Tile]:
        """All tiles of a picture, row by row: evenly apart, the last ones at its borders.

        A picture that is no larger than a tile is its only one.
        """
        tops, lefts = (self._starts(length) for length in image_hw)
        height, width = (min(self.side_px, length) for length in image_hw)
        return [Tile(top, left, top + height, left + width) for top, left in product(tops, lefts)]

    def looked_at(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of a tile of a picture; all are alike."""
        tile = self.tiles(image_hw)[0]
        return tile.bottom, tile.right

    def _starts(self, length_px: int) -> list[int]:
        if length_px <= self.side_px:
            return [0]
        count = ceil((length_px - self.overlap_px) / (self.side_px - self.overlap_px))
        return [int(start) for start in np.linspace(0, length_px - self.side_px, count)]


def tile_size(side_px: int, overlap_px: int | None = None) -> TileSize:
    """Checked; without an overlap it is a fifth of the side.

    Raises:
        InputError: a side that is too small, or an overlap of half of it or more.
    """
    if side_px < LEAST_TILE_PX:
        raise InputError(
            f"tiles of {side_px} px found; expected a side of {LEAST_TILE_PX} px or more. Take "
            "about the size of the pictures that the network was trained on."
        )
    overlap_px = side_px // OVERLAP if overlap_px is None else overlap_px
    if not 0 <= overlap_px < side_px / 2:
        raise InputError(
            f"tiles of {side_px} px that overlap by {overlap_px} px found; expected an overlap "
            "from 0 to less than half of the side. Take about the size of the greatest object."
        )
    return TileSize(side_px, overlap_px)


def asked_tiles(side_px: int | None, overlap_px: int | None) -> TileSize | None:
    """As `tile_size`; None where nobody asks for tiles.

    Raises:
        InputError: as `tile_size`, or an overlap without tiles.
    """
    if side_px is not None:
        return tile_size(side_px, overlap_px)
    if overlap_px is not None:
        raise InputError(
            f"tiles: an overlap of {overlap_px} px without tiles found; expected both. Name the "
            "side of a tile too."
        )
    return None
