"""The size of a picture from its header, EXIF orientation included, without decoding it.

Sources: ITU T.81 (JPEG) B.1 and B.2, PNG 3rd ed. 5 and 11, TIFF 6.0 section 2.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...runtime.pictures.preprocess import read_image

Size = tuple[int, int]

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_APP1, _SCAN = 0xE1, 0xDA
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""Of EXIF's eight orientations, those that swap the sides."""


def size_hw(path: Path) -> Size:
    """Height and width in pixels as `read_image` gives them; InputError where it cannot.

    Decoded only where the header tells no size.
    """
    known = header_size_hw(path)
    if known is None:
        height, width = read_image(path).shape[:2]
        return height, width
    return known


def header_size_hw(path: Path) -> Size | None:
    """Height and width in pixels after the EXIF orientation.

    None where the file tells no size or does not end as its format ends.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(-len(_PNG_END), os.SEEK_END)
            end = stream.read()
            stream.seek(0)
            start = stream.read(len(_PNG))
            if start == _PNG and end == _PNG_END:
                return _png_size(stream)
            if start.startswith(_JPEG) and end.endswith(_JPEG_END):
                return _jpeg_size(stream)
    except (OSError, struct.error):  # too short, which decoding will say
        pass
    return None


def orientation(path: Path) -> int:
    """EXIF orientation 1 to 8 of a JPEG; 1 where it has none, and of other formats."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(_JPEG)) != _JPEG:
                return 1
            for marker, length in _jpeg_segments(stream):
                if marker == _APP1 and (segment := stream.read(length)).startswith(_EXIF):
                    return _orientation(segment[len(_EXIF) :])
    except (OSError, struct.error):
        pass
    return 1


def _png_size(stream: BinaryIO) -> Size:
    _, _, width, height = struct.unpack(">I4sII", stream.read(16))
    stream.seek(33)  # after IHDR and its checksum
    exif = b""
    while len(head := stream.read(8)) == 8 and head[4:] != b"IDAT":
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] == b"eXIf":
            exif = stream.read(length)
            break
        stream.seek(length + 4, os.SEEK_CUR)
    return _upright((height, width), exif)


def _jpeg_size(stream: BinaryIO) -> Size | None:
    exif = b""
    for marker, length in _jpeg_segments(stream):
        if marker in _FRAMES:
            _, height, width = struct.unpack(">BHH", stream.read(5))
            return _upright((height, width), exif)
        if marker == _APP1:
            segment = stream.read(length)
            exif = segment[len(_EXIF) :] if segment.startswith(_EXIF) else exif
    return None


def _jpeg_segments(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Marker and payload bytes of each segment before the first scan; the stream stands there."""
    place = len(_JPEG)
    while True:
        stream.seek(place)
        start, marker, length = struct.unpack(">BBH", stream.read(4))
        if start != 0xFF or marker == _SCAN:
            return
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        yield marker, length - 2
        place += 2 + max(length, 2)


def _upright(size_hw: Size, tiff: bytes) -> Size:
    return size_hw[::-1] if _orientation(tiff) in TURNED else size_hw


def _orientation(tiff: bytes) -> int:
    """EXIF orientation 1 to 8 of a TIFF head; 1 where it has none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (start,) = struct.unpack(f"{order}I", tiff[4:8])
    (count,) = struct.unpack(f"{order}H", tiff[start : start + 2])
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, _, _, value = struct.unpack(f"{order}HHIH", tiff[entry : entry + 10])
        if tag == _ORIENTATION:
            return int(value)
    return 1
