"""Overlays: masks tinted and outlined, boxes, names with scores, in readable colours.

Separate from `Instances`, which hands over its arrays, so that the result type stays free of
OpenCV.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import write_bytes
from .plates import plate_places

Image = npt.NDArray[np.uint8]
Crop = tuple[npt.NDArray[np.bool_], tuple[int, int]]
"""A mask around its foreground, (h, w) bool, and its top left pixel (row, column)."""
Colour = tuple[int, int, int]

TINT = 0.45
"""Share of the colour in a mask's pixels: strong enough to see, weak enough to see through."""
GOLDEN_TURN = 0.618034
"""Successive hues this far apart on the circle stay distinct for any number of instances."""


def draw_overlay(
    image: Image,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    names: Sequence[str],
    colour_keys: Sequence[int],
    mask_crop: Callable[[int], Crop] | None,
) -> Image:
    """A copy of a picture with every instance on it, the best one on top.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float32 xyxy in its pixels.
        scores: (N,) float32.
        names: N class names; where one is empty neither it nor its score is written. No name covers
            another: where there is no place for one it is left away, the best ones come first.
        colour_keys: N integers; equal ones have equal colours in any picture.
        mask_crop: instance -> its mask; asked for one at a time, as all may not fit in memory. None
            where there are no masks.
    """
    canvas = image.copy()
    worst_first = [int(index) for index in np.argsort(scores, kind="stable")]
    if mask_crop is not None:
        for index in worst_first:
            _tint_mask(canvas, *mask_crop(index), _colour(colour_keys[index]))
    for index in worst_first:
        _draw_box(canvas, boxes[index], _colour(colour_keys[index]))
    named = [index for index in reversed(worst_first) if names[index]]
    texts = [f"{names[index]} {scores[index]:.2f}" for index in named]
    _write_all(canvas, texts, boxes[named], [_colour(colour_keys[index]) for index in named])
    return canvas


def write_picture(path: Path, image: Image) -> None:
    """Encode (H, W, 3) uint8 RGB by the suffix and write it whole.

    Raises:
        InputError: it cannot be encoded or written.
    """
    import cv2

    try:
        written, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        written = False
    if not written:
        height, width = image.shape[:2]
        raise InputError(
            f"{path}: a picture of {width} x {height} px cannot be written in this format; expected"
            " at most 65500 px a side in JPEG. Convert the source to PNG."
        )
    write_bytes(path, data.tobytes())


def _colour(key: int) -> Colour:
    """Bright RGB, hue by golden turns, so keys next to each other never look alike."""
    red, green, blue = colorsys.hsv_to_rgb(key * GOLDEN_TURN % 1.0, 0.8, 1.0)
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


def _unit(canvas: Image) -> int:
    """Width of a line in pixels; follows the picture so that large ones stay readable."""
    return int(max(1, round(min(canvas.shape[:2]) / 500)))


def _draw_box(canvas: Image, box: npt.NDArray[np.float32], colour: Colour) -> None:
    import cv2

    x0, y0, x1, y1 = (round(float(value)) for value in box)
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colour, _unit(canvas))


def _write_all(
    canvas: Image,
    texts: Sequence[str],
    boxes: npt.NDArray[np.float32],
    colours: Sequence[Colour],
) -> None:
    """Texts on plates of the colours beside their boxes; the first ones choose their place."""
    import cv2

    scale = 0.45 * _unit(canvas)
    font: dict[str, Any] = {"fontFace": cv2.FONT_HERSHEY_SIMPLEX, "fontScale": scale}
    thickness = max(1, round(scale * 2))
    sizes = [cv2.getTextSize(text, thickness=thickness, **font) for text in texts]
    plates = [(width, height + baseline) for (width, height), baseline in sizes]
    places = plate_places(plates, boxes, (canvas.shape[0], canvas.shape[1]))
    for text, place, (width, high), ((_, height), _), colour in zip(
        texts, places, plates, sizes, colours, strict=True
    ):
        if place is None:
            continue
        left, top = place
        cv2.rectangle(canvas, place, (left + width - 1, top + high - 1), colour, -1)
        luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
        ink = (0, 0, 0) if luminance > 110 else (255, 255, 255)
        at = (left, top + height)
        cv2.putText(canvas, text, at, color=ink, thickness=thickness, **font)
