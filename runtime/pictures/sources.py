"""What a user names - pictures, folders, videos - as the files to read, in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .video import VIDEO_SUFFIXES

JPEG_SUFFIXES = (".jpg", ".jpeg")
PICTURE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".bmp", ".webp", ".tif", ".tiff")


def source_files(sources: Sequence[Path]) -> list[Path]:
    """The picture and video files behind `sources`: a folder gives its pictures sorted by name.

    Raises:
        InputError: no source, or one that is missing, of an unknown kind, or a folder without
            pictures.
    """
    if not sources:
        raise InputError("no source; expected pictures, folders or videos. Name at least one.")
    return [path for source in sources for path in _files_of(source)]


def is_video(path: Path) -> bool:
    """Whether a source file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _files_of(source: Path) -> list[Path]:
    """The source itself, or a folder's pictures sorted by name."""
    if source.is_dir():
        found = sorted(p for p in source.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        if not found:
            raise InputError(
                f"{source}: no picture in this folder; expected {', '.join(PICTURE_SUFFIXES)}. "
                "Name the folder that holds them; videos are named one by one."
            )
        return found
    if not source.exists():
        raise InputError(
            f"{source}: no such file or folder; expected a picture, a video or a folder of "
            "pictures. Check the path."
        )
    known = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)
    if source.suffix.lower() not in known:
        raise InputError(
            f"{source}: suffix '{source.suffix}' is no picture's or video's; expected one of "
            f"{', '.join(known)}. Convert it."
        )
    return [source]
