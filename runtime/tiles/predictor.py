"""A `Predictor` that looks at overlapping tiles of a picture, and at the whole of it once.

For large pictures and dense scenes: a tile comes to the network at its own size, where the whole
would be shrunk to its canvas, and the network's limit of instances holds for each tile. Memory is
the picture's, a batch of tiles and the small maps of what was found: no full-size mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from ..gpu.decode import to_host
from ..pictures.given import Given, one_or_more
from ..pictures.picture_path import Picture
from ..pictures.preprocess import Image, read_image
from ..predictor import Predictor
from ..results.instances import Instances
from .grid import Tile, asked_tiles, tile_size
from .merging import View, merged, moved


class TiledPredictor(Predictor):
    """Another predictor's tiles; closing it closes that one.

    What a tile's border cuts loses to who sees the object whole (`merging`). An object is seen
    whole if it is no larger than the overlap, or large enough for the view of the whole picture.
    """

    def __init__(self, predictor: Predictor, side_px: int, overlap_px: int | None = None) -> None:
        """Wrap it.

        Args:
            predictor: looks at the tiles, in batches; may be a bundle's.
            side_px: of a tile, 64 or more; a picture no larger is taken whole.
            overlap_px: of neighbours at least, less than half of the side; None is a fifth.

        Raises:
            InputError: one is out of range.
        """
        self.size = tile_size(side_px, overlap_px)
        super().__init__(predictor.session, predictor.nms_iou, "cpu")
        self._predictor, self.path = predictor, predictor.path

    @property
    def canvases(self) -> tuple[tuple[int, int], ...]:
        """As those of the predictor of tiles."""
        return self._predictor.canvases

    @property
    def at_once(self) -> int:
        """One: its tiles fill the batches."""
        return 1

    def looked_at(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Of a tile."""
        return self.size.looked_at(image_hw)

    def read_image(self, path: str | Path) -> Image:
        """A picture file in the host's memory; errors as `Predictor.read_image`."""
        return read_image(path)

    def predict(self, images: Given | Sequence[Given]) -> list[Instances]:
        """Predict pictures one by one; arguments, result and errors as `Predictor.predict`."""
        found: list[Instances] = []
        for image in one_or_more(images):
            found += super().predict([image])
        return found

    def _predict_batch(self, images: Sequence[Picture]) -> list[Instances]:
        return [self._tiled(to_host(image)) for image in images]

    def _tiled(self, image: Image) -> Instances:
        image_hw = (image.shape[0], image.shape[1])
        tiles = self.size.tiles(image_hw)
        if len(tiles) == 1:
            return self._predictor.predict([image])[0]
        views = [
            View(
                here := moved(found, tile.top, tile.left, image_hw), tile.cut(here.boxes, image_hw)
            )
            for tile, found in zip(tiles, self._of_tiles(image, tiles), strict=True)
        ]
        (whole,) = self._predictor.predict([image])
        return merged([*views, View(whole, np.zeros(len(whole), dtype=np.bool_), rank=1)])

    def _of_tiles(self, image: Image, tiles: Sequence[Tile]) -> Iterator[Instances]:
        """What is found in each, a batch at a time."""
        left = iter(tiles)
        while part := list(islice(left, self._predictor.at_once)):
            yield from self._predictor.predict(
                [
                    np.ascontiguousarray(image[tile.top : tile.bottom, tile.left : tile.right])
                    for tile in part
                ]
            )

    def close(self) -> None:
        """Close the predictor of tiles."""
        self._predictor.close()


def in_tiles(predictor: Predictor, side_px: int | None, overlap_px: int | None) -> Predictor:
    """A predictor that looks at tiles, or itself where nobody asks for any.

    Raises:
        InputError: the size of tiles is out of range, or an overlap without tiles.
    """
    size = asked_tiles(side_px, overlap_px)
    return predictor if size is None else TiledPredictor(predictor, size.side_px, size.overlap_px)
