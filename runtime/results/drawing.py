"""Overlays: masks tinted and outlined, boxes, names with scores, one readable colour per instance.

Separate from `Instances` so that the result type stays free of OpenCV.
"""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ContractError

if TYPE_CHECKING:
    from .instances import Instances

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

TINT = 0.45
"""Share of the colour in a mask's pixels: strong enough to see, weak enough to see through."""
GOLDEN_TURN = 0.618034
"""Successive hues this far apart on the circle stay distinct for any number of instances."""


def draw_instances(instances: Instances, image: Image) -> Image:
    """A copy of `image` (H, W, 3) uint8 RGB with every instance on it, the best one on top.

    Raises:
        ContractError: the picture has another size than the instances'.
    """
    if image.shape != (*instances.image_hw, 3) or image.dtype != np.uint8:
        raise ContractError(
            f"draw: picture {image.shape} {image.dtype}; the instances belong to one of "
            f"{(*instances.image_hw, 3)} uint8. Pass the picture that was predicted."
        )
    canvas = image.copy()
    worst_first = np.argsort(instances.scores, kind="stable")
    for index in worst_first:
        _tint_mask(canvas, *instances.mask_crop(int(index)), _colour(int(index)))
    for index in worst_first:
        _draw_box(canvas, instances, int(index), _colour(int(index)))
    return canvas


def _colour(index: int) -> Colour:
    """Bright RGB, hue by golden turns, so neighbours in the list never look alike."""
    red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN_TURN % 1.0, 0.8, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _tint_mask(
    canvas: Image, crop: npt.NDArray[np.bool_], origin: tuple[int, int], colour: Colour
) -> None:
    """Blend the colour into the mask's pixels and draw its outline, in place."""
    import cv2

    if not crop.any():
        return
    top, left = origin
    window = canvas[top : top + crop.shape[0], left : left + crop.shape[1]]
    tinted = window[crop] * (1 - TINT) + np.array(colour) * TINT
    window[crop] = tinted.round().astype(np.uint8)
    outline, _ = cv2.findContours(
        np.ascontiguousarray(crop, dtype=np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(canvas, outline, -1, colour, 1, offset=(left, top))


def _draw_box(canvas: Image, instances: Instances, index: int, colour: Colour) -> None:
    """Box and name; sizes follow the picture so that text stays readable on large ones."""
    import cv2

    unit = max(1, round(min(instances.image_hw) / 500))
    x0, y0, x1, y1 = (round(float(value)) for value in instances.boxes[index])
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colour, unit)
    name = instances.class_names[instances.labels[index]]
    _write(canvas, f"{name} {instances.scores[index]:.2f}", (x0, y0), colour, 0.45 * unit)


def _write(canvas: Image, text: str, corner: tuple[int, int], colour: Colour, scale: float) -> None:
    """Text on a plate of the colour, above the corner or, at the top of the picture, below it."""
    import cv2

    font: dict[str, Any] = {"fontFace": cv2.FONT_HERSHEY_SIMPLEX, "fontScale": scale}
    thickness = max(1, round(scale * 2))
    (width, height), baseline = cv2.getTextSize(text, thickness=thickness, **font)
    left = max(0, min(corner[0], canvas.shape[1] - width))
    bottom = corner[1] if corner[1] >= height + baseline else corner[1] + height + baseline
    cv2.rectangle(canvas, (left, bottom - height - baseline), (left + width, bottom), colour, -1)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = (0, 0, 0) if luminance > 110 else (255, 255, 255)
    place = (left, bottom - baseline)
    cv2.putText(canvas, text, place, color=ink, thickness=thickness, **font)
