"""COCO run-length encoding straight from a crop, without a full-size copy of the mask.

COCO counts runs of 0 and 1 alternately down the columns of the whole picture, starting with zeros.
The runs are found on the crop alone: one zero row under it keeps columns apart (unless the crop is
as tall as the picture, where runs do continue in the next column), and the places where the value
changes are moved from crop to picture coordinates. pycocotools compresses the counts, all masks of
a picture in one call (0.2 ms per 100 masks; the same in numpy took 4 ms).

Source: the COCO API's maskApi (rleEncode, rleToString).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from ..errors import SessionError, pip_line

Bool = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class Rle(TypedDict):
    """A COCO mask: `size` [H, W] in pixels, `counts` compressed (str, ready for JSON)."""

    size: list[int]
    counts: str


def rle_from_crop(crop: Bool, origin: tuple[int, int], image_hw: tuple[int, int]) -> Rle:
    """Encode one mask given as a crop, as `masks.paste_one` returns it.

    Args:
        crop: (h, w) bool; fastest column-major. It lies inside the picture.
        origin: row and column of its top left pixel.
        image_hw: height and width of the picture, in pixels.

    Returns:
        What `pycocotools.mask.encode` gives for the full mask, counts as str.

    Raises:
        SessionError: pycocotools is not installed.
    """
    return compress([counts_from_crop(crop, origin, image_hw)], image_hw)[0]


def counts_from_crop(crop: Bool, origin: tuple[int, int], image_hw: tuple[int, int]) -> Counts:
    """Uncompressed COCO counts of one mask: (R,) int64, runs of 0 first, summing to H * W.

    Arguments as `rle_from_crop`.
    """
    height, width = image_hw
    if crop.size == 0:
        return np.array([height * width], dtype=np.int64)
    rows = crop.shape[0]
    flat, step = crop.T, rows
    if rows < height:
        step = rows + 1
        flat = np.zeros((crop.shape[1], step), dtype=np.bool_)
        flat[:, :rows] = crop.T
    line = flat.reshape(-1)
    changes = np.flatnonzero(line[1:] != line[:-1]) + 1
    ends = ([0] if line[0] else [], changes, [line.size] if line[-1] else [])
    changes = np.concatenate(ends).astype(np.int64)
    column, row = np.divmod(changes, step)
    places = (column + origin[1]) * height + row + origin[0]
    return _as_counts(places, height * width)


def _as_counts(places: Counts, total: int) -> Counts:
    """Run lengths between the places of change; COCO writes no empty run at the end."""
    counts = np.diff(np.concatenate(([0], places, [total])))
    return counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts


def compress(counts: Sequence[Counts], image_hw: tuple[int, int]) -> list[Rle]:
    """COCO's compressed form of several masks' counts, in order.

    Raises:
        SessionError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as err:
        raise SessionError(
            "COCO masks: pycocotools is not installed; run-length encoding needs it. "
            f"{pip_line('cpu')}."
        ) from err
    if not counts:
        return []
    size = [int(image_hw[0]), int(image_hw[1])]
    objects = [{"size": size, "counts": one} for one in counts]
    encoded = coco_mask.frPyObjects(objects, size[0], size[1])
    return [Rle(size=list(size), counts=one["counts"].decode("ascii")) for one in encoded]
