"""Whether a split's pictures are there, whole and in the annotated size, without decoding them.

A picture that is absent, cut off, of another size or turned by its EXIF orientation would end a run
when it is drawn, hours late. JPEG and PNG tell their size in a few hundred bytes and end in a
marker; what they leave in doubt is decoded. Other formats are measured when they are drawn.
Sources: ITU T.81 (JPEG) B.1 and B.2, PNG 3rd ed. 5 and 11, TIFF 6.0 section 2.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...runtime.errors import InputError
from .annotations import CocoSplit, ImageRecord, read_record, size_error

Size = tuple[int, int]

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_MEASURED = (".jpg", ".jpeg", ".png")
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_APP1, _SCAN = 0xE1, 0xDA
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # of the eight orientations, those that swap the sides


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
        _require_size(image)


def _require_size(image: ImageRecord) -> None:
    size_hw = header_size_hw(image.path)
    if size_hw == image.image_hw:
        return
    # an orientation at the end of a PNG may turn it after all
    doubtful = size_hw == image.image_hw[::-1]
    if doubtful or (size_hw is None and image.path.suffix.lower() in _MEASURED):
        read_record(image)
    elif size_hw is not None:
        raise size_error(image, size_hw)


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
