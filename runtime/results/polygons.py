"""Masks as outlines, for tools that take polygons."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

LEAST_CORNERS = 3
"""A part of a mask with fewer, a dot or a line one pixel wide, encloses nothing."""


def polygons_from_crop(crop: npt.NDArray[np.bool_], origin: tuple[int, int]) -> list[Float]:
    """The outer outline of each connected part of a mask; holes are left out.

    Args:
        crop: (h, w) bool, the mask around its foreground.
        origin: row and column of its top left pixel in the picture.

    Returns:
        (P, 2) float32 x, y of pixels on the outline, P at least 3, in pixels of the picture.
    """
    import cv2

    if not crop.any():
        return []
    mode, method = cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    outlines, _ = cv2.findContours(np.ascontiguousarray(crop, dtype=np.uint8), mode, method)
    corner = np.array((origin[1], origin[0]), dtype=np.float32)
    parts = (outline.reshape(-1, 2).astype(np.float32) + corner for outline in outlines)
    return [part for part in parts if len(part) >= LEAST_CORNERS]
