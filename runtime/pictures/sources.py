"""What a user names - pictures, folders, videos - as the files to read, in the order given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .video import VIDEO_SUFFIXES

JPEG_SUFFIXES = (".jpg", ".jpeg")
PICTURE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif")
URL_STARTS = ("http:", "https:", "ftp:", "rtsp:", "file:", "s3:")


def source_files(sources: Sequence[Path]) -> list[Path]:
    """The picture and video files behind `sources`: a folder gives its pictures sorted by name.

    Raises:
        InputError: no source, or one that is missing, of an unknown kind, or a folder without
            pictures.
    """
    if not sources:
        raise InputError("no source; expected pictures, folders or videos. Name at least one.")
    return [path for source in sources for path in _files_of(source)]


def skipped_files(sources: Sequence[Path]) -> dict[str, int]:
    """How many files of the folders among `sources` are no pictures, by suffix; hidden ones apart.

    Raises:
        InputError: a folder cannot be read.
    """
    files = (p for s in sources if _is_folder(s) for p in _entries(s) if p.is_file())
    skipped = (p for p in files if not p.name.startswith(".") and not is_picture(p))
    return dict(Counter(path.suffix.lower() or "no suffix" for path in skipped))


def is_picture(path: Path) -> bool:
    """Whether a source file is a picture, by its suffix."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def is_video(path: Path) -> bool:
    """Whether a source file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _files_of(source: Path) -> list[Path]:
    """The source itself, or a folder's pictures sorted by name."""
    if _is_folder(source):
        found = sorted(filter(is_picture, _entries(source)))
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


def _is_folder(source: Path) -> bool:
    """Also the first look at a source, which may be no path at all."""
    text = str(source)
    if text.startswith(URL_STARTS):
        address = text.replace(":/", "://", 1) if "://" not in text else text
        raise InputError(
            f"{address}: an address; expected a file or folder of this machine. Download it first."
        )
    try:
        return source.is_dir()
    except OSError as err:
        raise _unreadable(source, err) from err


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as err:
        raise _unreadable(folder, err) from err


def _unreadable(source: Path, err: OSError) -> InputError:
    name = str(source) if len(str(source)) <= 300 else f"{str(source)[:80]}..."
    return InputError(
        f"{name}: could not be read ({err.strerror}); expected a picture, a video or a folder of "
        "pictures. Check the path and its permissions."
    )
