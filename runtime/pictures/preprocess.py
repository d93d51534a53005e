"""Pictures to canvases: read, scale with the aspect ratio kept, put at the top left of zeros.

Normalization is inside the graph, so a canvas stays uint8 RGB. The graph is told the valid size and
zeroes the rest after normalizing, which is how Detectron2 pads. Scaling is OpenCV's INTER_LINEAR,
as FastMask trains and tests; Detectron2 uses Pillow's antialiased bilinear instead, so a contract
of imported Detectron2 weights sees slightly sharper small pictures here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Contract, ResizeRule
from ..errors import ContractError, InputError
from .header import is_float_tiff, why_refused
from .opencv import quiet_opencv

Image = npt.NDArray[np.uint8]

EMPTY_SLOT_HW = (1, 1)
"""Valid size of an unused canvas: the smallest that divides by zero nowhere in a graph."""


def read_image(path: str | Path) -> Image:
    """Read a picture file (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF: what this OpenCV decodes).

    The EXIF orientation is applied, grey becomes three equal channels, alpha is dropped and 16-bit
    values are scaled to 8 bits. Of an animation the first frame is read.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: no such file, not readable, not a whole picture, or one whose header states
            more pixels than OpenCV decodes or than a file of its size may hold (`header.py`).
    """
    path = Path(path)
    return decoded_image(picture_bytes(path), str(path))


def decoded_image(data: bytes, where: str) -> Image:
    """A picture file's bytes as `read_image` reads them; `where` names it in errors.

    How many pixels its header states is not looked at: `header.why_refused` does.

    Raises:
        InputError: not a whole picture.
    """
    image = _decode(data)
    if image is None and is_float_tiff(data):
        raise InputError(
            f"{where}: a TIFF of floats; expected 8 or 16 bits a channel, whose white is known. "
            "Scale its values and save it again as PNG."
        )
    if image is None:
        raise InputError(
            f"{where}: not a whole picture ({len(data)} bytes); expected JPEG, PNG or another "
            "format that OpenCV decodes. Open it in a viewer, or save it again as PNG."
        )
    return image


def picture_bytes(path: Path) -> bytes:
    """A picture file's bytes, which no decoder has seen yet.

    Raises:
        InputError: no such file, not readable, or a header that states too many pixels, as
            `read_image` says.
    """
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            kind = "a folder" if path.is_dir() else "no such file"
            raise InputError(f"{path}: {kind}; expected a picture file. Check the path.")
        data = path.read_bytes()
    except OSError as err:
        raise InputError(
            f"{path}: could not be read ({err.strerror}); expected a picture. Check permissions."
        ) from err
    if refused := why_refused(data):
        raise InputError(f"{path}: {refused}. Scale it down, or cut it into parts.")
    return data


def _decode(data: bytes) -> Image | None:
    """RGB picture, or None when OpenCV cannot decode the bytes."""
    import cv2

    if not data:
        return None
    try:
        with quiet_opencv():
            bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. more pixels than OpenCV accepts
        return None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def scaled_size_hw(
    image_hw: tuple[int, int], rule: ResizeRule, canvas_hw: tuple[int, int]
) -> tuple[int, int]:
    """Height and width in pixels of a picture once scaled for the canvas.

    One scale for both sides: the largest that keeps the shorter side at `rule.short_side_px` (when
    that is not 0), the longer side within `rule.long_side_px`, and both on the canvas.
    `rule.multiple_px` 1 rounds to the nearest pixel, otherwise down to the multiple; the canvas
    limits what is left after that: 640x480 becomes 1300x975 and fills 1300x972, as in FastMask. A
    side is never below 1 px (one multiple) nor above the canvas.

    Source: Detectron2's ResizeShortestEdge (int(x + .5)); FastMask's get_img (multiples of 4).
    """
    height, width = image_hw
    high, wide = (_largest_before_flooring(side, rule.multiple_px) for side in canvas_hw)
    scales = [rule.long_side_px / max(image_hw), high / height, wide / width]
    if rule.short_side_px > 0:
        scales.append(rule.short_side_px / min(image_hw))
    scale = min(scales)
    return (
        _scaled_side(height * scale, rule.multiple_px, canvas_hw[0]),
        _scaled_side(width * scale, rule.multiple_px, canvas_hw[1]),
    )


def _largest_before_flooring(side_px: int, multiple_px: int) -> float:
    """The longest scaled side that still fits a canvas side, once it is floored."""
    if multiple_px == 1:
        return side_px
    return side_px - side_px % multiple_px + multiple_px - 0.01  # one multiple more is too much


def _scaled_side(side_px: float, multiple_px: int, limit_px: int) -> int:
    if multiple_px == 1:
        return min(max(int(side_px + 0.5), 1), limit_px)
    # 868 / 1234 * 1234 is 867.99..., which must not lose a whole multiple.
    multiples = int((side_px + 1e-6) // multiple_px)
    return min(max(multiples, 1) * multiple_px, limit_px)


def place_on_canvas(
    images: Sequence[Image], contract: Contract
) -> tuple[Image, npt.NDArray[np.int32]]:
    """Scale pictures and place each at the top left of its canvas, zeros elsewhere.

    Args:
        images: at most `contract.batch` pictures, (H, W, 3) uint8 RGB, of any sizes.
        contract: gives batch, canvas and resize rule.

    Returns:
        Canvases (B, H, W, 3) uint8 and valid sizes (B, 2) int32 (height, width). With fewer
        pictures than B the last canvases are black with valid size 1 x 1; what they give is not to
        be read.

    Raises:
        ContractError: more than B pictures, or one that is not non-empty (H, W, 3) uint8.
    """
    import cv2

    if len(images) > contract.batch:
        raise ContractError(
            f"{contract.variant}: got {len(images)} pictures; one batch takes {contract.batch}. "
            "Use Predictor.predict, which splits them."
        )
    canvases = np.zeros((contract.batch, *contract.canvas_hw, 3), dtype=np.uint8)
    image_sizes = np.full((contract.batch, 2), EMPTY_SLOT_HW, dtype=np.int32)
    for index, picture in enumerate(images):
        image = checked_image(picture, index)
        height, width = scaled_size_hw(image.shape[:2], contract.resize, contract.canvas_hw)
        scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        canvases[index, :height, :width] = scaled
        image_sizes[index] = height, width
    return canvases, image_sizes


def checked_image(image: Any, index: int) -> Image:
    """The picture as a contiguous array, after checking that it is one."""
    if hasattr(image, "__cuda_array_interface__"):
        raise ContractError(
            f"picture {index}: in GPU memory; expected it in host memory, where this model takes "
            "its pictures. Copy it, or open an engine with pictures='gpu'."
        )
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    is_rgb = shape is not None and len(shape) == 3 and shape[2] == 3 and min(shape) > 0
    if not is_rgb or dtype != np.uint8:
        raise ContractError(
            f"picture {index}: got shape {shape}, {dtype}; expected non-empty (H, W, 3) uint8 RGB. "
            "Pass a list of such arrays; read_image makes them from files."
        )
    return np.ascontiguousarray(image)
