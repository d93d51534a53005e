"""What a user may write for sources beside files and folders: patterns, cameras, a list."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import InputError
from .camera import Camera, camera_from_text
from .sources import URL_STARTS, is_picture, is_video

LIST = "-"
"""Standard input names sources, one a line."""


def named_sources(sources: Sequence[str | Path]) -> list[Path | Camera]:
    """Files and folders as they are, a pattern's pictures and videos by name, and cameras.

    Args:
        sources: paths; patterns with `*`, `?`, `[...]` or `**`, where there is no file of that
            name; `0`, where there is none of it either, or `camera:0` for a camera of this machine;
            RTSP addresses; `-` for those that standard input lists, one a line.

    Raises:
        InputError: a pattern that fits no picture or video, or an empty list.
    """
    return [found for source in sources for found in _named(str(source))]


def _named(text: str) -> Iterator[Path | Camera]:
    if text == LIST:
        for line in _listed():
            yield from _one(line)
    else:
        yield from _one(text)


def _one(text: str) -> Iterator[Path | Camera]:
    exists = os.path.lexists(text)
    camera = None if exists else camera_from_text(text)
    if camera is not None:
        yield camera
    elif not exists and glob.has_magic(text) and not text.startswith(URL_STARTS):
        yield from _fitting(text)
    else:
        yield Path(text)


def _listed() -> list[str]:
    """Names are bytes to the system, so they need not be UTF-8."""
    data = b"" if sys.stdin is None else sys.stdin.buffer.read()
    lines = [os.fsdecode(line) for line in data.splitlines() if line.strip()]
    if not lines:
        raise InputError(
            "-: standard input names nothing; expected a picture, folder, video or camera a line. "
            "Pipe a list in: find photos -name '*.jpg' | maskrt predict MODEL - --out DIR"
        )
    return lines


def _fitting(pattern: str) -> list[Path]:
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    media = [path for path in found if is_picture(path) or is_video(path)]
    if not media:
        others = f"{len(found)} others" if found else "nothing"
        raise InputError(
            f"{pattern}: fits no picture or video ({others} found); expected some. Check the "
            "pattern, in quotation marks as it is."
        )
    return media
