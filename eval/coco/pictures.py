"""Whether a split's pictures are there in the annotated size, from their first bytes alone.

A picture that is absent, of another size or turned by its EXIF orientation would end a run when it
is drawn, hours late. JPEG and PNG tell their size in a few hundred bytes; other formats are
measured when they are decoded. Sources: ITU T.81 (JPEG) B.2, PNG 3rd ed. 11.2, TIFF 6.0 section 2.
"""

from __future__ import annotations

import os.path
import struct
from collections.abc import Iterator
from pathlib import Path

from ...runtime.errors import InputError
from .annotations import CocoSplit, size_error

Size = tuple[int, int]

_PNG = b"\x89PNG\r\n\x1a\n"
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_SCAN = 0xDA
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # of the eight orientations, those that swap the sides
_HEAD_BYTES = 1 << 18


def require_pictures(found: CocoSplit) -> None:
    """Check that every picture is there and, as far as its header tells, has the annotated size.

    Raises:
        InputError: one is not.
    """
    absent = [image.path for image in found.images if not os.path.isfile(image.path)]
    if absent:
        raise InputError(
            f"{absent[0]}: no such picture ({len(absent)} of the {len(found.images)} that "
            f"{found.annotation_file.name} lists are absent). Put the pictures there, or remove "
            "them from the file."
        )
    for image in found.images:
        size_hw = header_size_hw(image.path)
        if size_hw not in (None, image.image_hw):
            raise size_error(image, size_hw)


def header_size_hw(path: Path) -> Size | None:
    """Height and width in pixels after the EXIF orientation; None where the head tells no size."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        return _png_size(head) if head.startswith(_PNG) else _jpeg_size(head)
    except (OSError, struct.error):  # cut off, which decoding will say
        return None


def _png_size(head: bytes) -> Size:
    width, height = struct.unpack(">II", head[16:24])
    place = head.find(b"eXIf")
    return _upright((height, width), head[place + 4 :] if place > 0 else b"")


def _jpeg_size(head: bytes) -> Size | None:
    exif = b""
    for marker, segment in _jpeg_segments(head):
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", segment[1:5])
            return _upright((height, width), exif)
        if marker == 0xE1 and segment.startswith(_EXIF):
            exif = segment[len(_EXIF) :]
    return None


def _jpeg_segments(head: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and payload of each segment before the first scan."""
    place = 2 if head.startswith(b"\xff\xd8") else len(head)
    while place + 4 <= len(head) and head[place] == 0xFF and head[place + 1] != _SCAN:
        if head[place + 1] == 0xFF:  # a fill byte
            place += 1
            continue
        (length,) = struct.unpack(">H", head[place + 2 : place + 4])
        yield head[place + 1], head[place + 4 : place + 2 + length]
        place += 2 + length


def _upright(size_hw: Size, tiff: bytes) -> Size:
    return size_hw[::-1] if _orientation(tiff) in _TURNED else size_hw


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
