"""A picture's bytes to RGB, after its header was asked what decoding it will cost."""

from __future__ import annotations

from ...runtime.errors import InputError
from ...runtime.pictures.header import stated_size_hw, why_refused
from ...runtime.pictures.preprocess import Image, decoded_image
from ..refusals import RefusedError
from .scans import jpeg_scans

DECODING_BYTES = 9
"""That a pixel may take while it is decoded: 6 in a progressive JPEG, 3 as RGB."""
DECODED_BYTES = 3
MOST_SCANS = 100
_JPEG = b"\xff\xd8"
_WHERE = "the picture"


def stated_px(data: bytes, most_px: int) -> int:
    """How many pixels the header states.

    Raises:
        RefusedError: 415 no picture of a known format; 413 more pixels than `most_px`, or than a
            file of its size may hold; 400 a JPEG of too many scans.
    """
    size_hw = stated_size_hw(data)
    if size_hw is None or min(size_hw) < 1:
        raise RefusedError(
            415,
            f"{_WHERE}: {len(data)} bytes without a picture's header; expected JPEG, PNG, WebP, "
            "AVIF, TIFF, BMP or GIF. Send the file's bytes as they are.",
        )
    height, width = size_hw
    if height * width > most_px:
        raise RefusedError(
            413,
            f"{_WHERE}: its header states {width} x {height} px; expected at most {most_px} "
            "pixels. Scale it down.",
        )
    if refused := why_refused(data):
        raise RefusedError(413, f"{_WHERE}: {refused}. Scale it down.")
    if data.startswith(_JPEG) and (scans := jpeg_scans(data)) > MOST_SCANS:
        raise RefusedError(
            400, f"{_WHERE}: {scans} scans; expected at most {MOST_SCANS} of a JPEG. Save it again."
        )
    return height * width


def decoded(data: bytes, most_px: int) -> Image:
    """(H, W, 3) uint8 RGB, as `read_image` gives it.

    Raises:
        RefusedError: 400 not a whole picture; 413 it has more pixels than its header stated.
    """
    try:
        image = decoded_image(data, _WHERE)
    except InputError as err:
        raise RefusedError(400, str(err)) from err
    if image.shape[0] * image.shape[1] > most_px:
        raise RefusedError(413, f"{_WHERE}: {image.shape[1]} x {image.shape[0]} px. Scale it down.")
    return image
