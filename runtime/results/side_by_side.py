"""Two overlays of one picture beside each other, each under its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

INK, PAPER = (255, 255, 255), 32


def side_by_side(images: Sequence[Image], names: Sequence[str]) -> Image:
    """Pictures of one size in a row, in order.

    Args:
        images: (H, W, 3) uint8 RGB each.
        names: one for each; a long one is written smaller.

    Returns:
        (H + h, n * W, 3) uint8 RGB, the names in its h uppermost rows.
    """
    return np.concatenate([_under(*pair) for pair in zip(names, images, strict=True)], axis=1)


def _under(name: str, image: Image) -> Image:
    """The picture with its name in a strip above it."""
    import cv2

    height, width = image.shape[:2]
    scale, font = 0.5 * max(1.0, min(height, width) / 500), cv2.FONT_HERSHEY_SIMPLEX
    row = round(40 * scale)
    text: dict[str, Any] = {"fontFace": font, "thickness": max(1, round(scale))}
    (long, _), _ = cv2.getTextSize(name, fontScale=scale, **text)
    fitting = scale * min(1.0, 0.9 * width / max(long, 1))
    strip = np.full((row, width, 3), PAPER, dtype=np.uint8)
    cv2.putText(strip, name, (width // 20, round(0.7 * row)), color=INK, fontScale=fitting, **text)
    return np.concatenate((strip, image))
