"""Where the overlay of each source goes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError
from ...runtime.files import write_error
from ...runtime.pictures.camera import Camera
from ...runtime.pictures.sources import JPEG_SUFFIXES, is_video


@dataclass(frozen=True)
class Job:
    """One file or camera and where its overlay goes."""

    path: Path | Camera
    overlay: Path

    @property
    def moves(self) -> bool:
        """Whether it is a video or a camera."""
        return isinstance(self.path, Camera) or is_video(self.path)


def plan_overlays(paths: Sequence[Path | Camera], out: Path) -> list[Job]:
    """Every file and camera to predict with a name of its own in `out`.

    Raises:
        InputError: `out` is no folder, cannot be one, or holds a source.
    """
    _check_folder(out)
    folder = os.path.realpath(out)
    files = [path for path in paths if isinstance(path, Path)]
    inside = next((path for path in files if _folder_of(path) == folder), None)
    if inside is not None:
        raise InputError(
            f"{out}: holds the source {inside.name}; expected a folder without sources, where no "
            "overlay can replace one. Choose another --out."
        )
    taken: set[str] = set()
    return [Job(path, out / _free_name(path, taken)) for path in paths]


def _check_folder(out: Path) -> None:
    try:
        found = "a file" if out.exists() else "a link to nothing" if out.is_symlink() else None
        is_folder = out.is_dir()
    except OSError as err:
        raise write_error(out, err) from err
    if found and not is_folder:
        raise InputError(f"{out}: {found}; expected a folder to write. Choose another --out.")


def _folder_of(path: Path) -> str:
    return os.path.dirname(os.path.realpath(path))


def _free_name(path: Path | Camera, taken: set[str]) -> str:
    """`a.jpg`, then `a_2.jpg`: sources of one name in different folders keep apart."""
    kept = ".mp4"
    if isinstance(path, Path) and not is_video(path):
        kept = ".jpg" if path.suffix.lower() in JPEG_SUFFIXES else ".png"
    names = (path.stem + (f"_{n}" if n > 1 else "") + kept for n in itertools.count(1))
    # Compared in lower case: some file systems do not tell A.jpg from a.jpg.
    name = next(name for name in names if name.lower() not in taken)
    taken.add(name.lower())
    return name
