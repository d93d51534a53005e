"""The size that a picture file states in its first bytes, read before anything is decoded.

OpenCV makes room for the whole picture first: 3.1 GB for a JPEG of 200 bytes that says 32000 x
32000. Formats: JPEG (ITU-T T.81, B.2.2), PNG (W3C PNG 11.2.2), GIF89a 18, BMP (BITMAPINFOHEADER),
WebP (RFC 9649), TIFF 6.0, AVIF (ISO/IEC 23008-12, 6.5.3). Of others nothing is known here.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable

MOST_PX = 2**30
"""OpenCV decodes no larger picture (CV_IO_MAX_IMAGE_PIXELS)."""
PX_PER_BYTE = 100
"""Photographs have 2 to 20, drawn pages up to a few hundred."""
ALWAYS_PX = 100_000_000
"""As many are decoded whatever the file's size: 0.3 GB, 0.9 of a progressive JPEG."""
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""JPEG's markers that state a size; the three are tables."""
AVIF_HEADER_BYTES = 2**16
"""Where its image sizes stand; the picture itself may come first only in files nobody writes."""
WIDTH, HEIGHT = 256, 257
SAMPLE_FORMAT, IEEE_FLOAT = 339, 3
SHORT, LONG = 3, 4
"""TIFF's tags, a value of one, and types."""


def stated_size_hw(data: bytes) -> tuple[int, int] | None:
    """Height and width in pixels as the file's header says; None where it cannot be read."""
    try:
        if data[4:8] == b"ftyp":
            return _avif(data)
        for magic, read in _READERS.items():
            if data.startswith(magic):
                return read(data)
    except (struct.error, IndexError, KeyError):  # cut off inside the header
        return None
    return None


def why_refused(data: bytes) -> str | None:
    """Why a picture file is not to be decoded, as "what was found; what was expected", or None."""
    size_hw = stated_size_hw(data)
    if size_hw is None:
        return None
    height, width = size_hw
    pixels = height * width
    found = f"its header states {width} x {height} px"
    if pixels > MOST_PX:
        return f"{found}; expected at most 2^30 pixels, OpenCV's limit"
    most = max(ALWAYS_PX, PX_PER_BYTE * len(data))
    if pixels > most:
        return (
            f"{found} in {len(data)} bytes; expected at most {most // 10**6} million pixels in so "
            "small a file, which may be cut off or made to fill the memory"
        )
    return None


def is_float_tiff(data: bytes) -> bool:
    """Whether a TIFF's values are floats, of which no white is known."""
    try:
        return data[:2] in (b"II", b"MM") and _tiff_tags(data).get(SAMPLE_FORMAT) == IEEE_FLOAT
    except (struct.error, IndexError):
        return False


def _png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<HH", data[6:10])
    return height, width


def _bmp(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<ii", data[18:26])
    return abs(height), abs(width)  # negative where the first row is the top one


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in START_OF_FRAME:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return height, width
        fill = marker == 0xFF
        at += 1 if fill else 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = struct.unpack("<I", data[23:27]), struct.unpack("<I", data[26:30])
        return (height[0] >> 8) + 1, (width[0] >> 8) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return height & 0x3FFF, width & 0x3FFF


def _avif(data: bytes) -> tuple[int, int] | None:
    """The largest of its images: a grid states the whole and each tile, a thumbnail is another."""
    sizes = [
        struct.unpack(">II", data[found.end() + 4 : found.end() + 12])  # after version and flags
        for found in re.finditer(b"\0\0\0\x14ispe", data[:AVIF_HEADER_BYTES])
    ]
    return max(((height, width) for width, height in sizes), key=math.prod, default=None)


def _tiff(data: bytes) -> tuple[int, int]:
    tags = _tiff_tags(data)
    return tags[HEIGHT], tags[WIDTH]


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The first value of each tag of the first picture that is a SHORT or a LONG."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[start : start + 2])
    tags = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack(order + "HHI", data[entry : entry + 8])
        if kind not in (SHORT, LONG):
            continue
        code, size = ("H", 2) if kind == SHORT else ("I", 4)
        place = entry + 8
        if size * number > 4:  # the values stand elsewhere
            (place,) = struct.unpack(order + "I", data[place : place + 4])
        (tags[tag],) = struct.unpack(order + code, data[place : place + size])
    return tags


_READERS: dict[bytes, Callable[[bytes], tuple[int, int] | None]] = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"GIF8": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
}
