"""An instance over a picture as a page draws it: as vectors, which stay sharp when enlarged.

A mask's outline runs through the centres of its border pixels and is stroked one pixel wide, so
fill and stroke together cover its pixels, a single one and the rim of a hole too.
"""

from __future__ import annotations

import colorsys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the picture."""

LONG_SIDE_PX = 800
"""Of a picture on a page at most: enough to enlarge, and a page stays a few megabytes."""
_GOLDEN_TURN = 0.618034  # successive hues this far apart on the circle stay distinct
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class Overlay:
    """One instance."""

    name: str
    """What stands beside it, e.g. "star 0.98"."""
    colour: str
    """#rrggbb."""
    box: Box
    outline: str
    """Of its mask, as SVG path data in pixels of the picture; "" where it has none."""


def colour_of(key: int) -> str:
    """Light, so that it shows on dark pictures; equal keys have equal colours on any page."""
    channels = colorsys.hsv_to_rgb(key * _GOLDEN_TURN % 1.0, 0.6, 1.0)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def box_of(xyxy: npt.NDArray[Any]) -> Box:
    """To a tenth of a pixel."""
    x0, y0, x1, y1 = (round(float(value), 1) for value in xyxy)
    return x0, y0, x1, y1


def mask_of_rle(rle: Any) -> npt.NDArray[np.uint8]:
    """A COCO run-length mask as (H, W) uint8, 1 inside."""
    from pycocotools import mask as coco_mask

    with warnings.catch_warnings():  # pycocotools 2.0.11 asks NumPy 2 in NumPy 1's way
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="__array__")
        return np.asarray(coco_mask.decode(rle), np.uint8)


def outline_of_mask(mask: npt.NDArray[np.uint8]) -> str:
    """SVG path data of all parts and holes of a mask; "" of an empty one.

    Args:
        mask: (H, W) uint8, 1 inside.
    """
    import cv2

    outlines, _ = cv2.findContours(
        np.ascontiguousarray(mask), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    return "".join(_path(outline.reshape(-1, 2)) for outline in outlines)


def _path(corners: npt.NDArray[Any]) -> str:
    """Steps from corner to corner; a lone pixel takes one of no length, whose ends are drawn."""
    (x, y), steps = corners[0], np.diff(corners, axis=0) if len(corners) > 1 else np.zeros((1, 2))
    words = " ".join(f"{dx:g} {dy:g}" for dx, dy in steps.tolist())
    return f"M{x + 0.5} {y + 0.5}l{words}z"


def jpeg_of(image: npt.NDArray[np.uint8]) -> bytes:
    """A picture, (H, W, 3) uint8 RGB, no larger than `LONG_SIDE_PX`."""
    import cv2

    scale = min(1.0, LONG_SIDE_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = image if scale == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()
