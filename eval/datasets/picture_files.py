"""The pictures that an annotation file lists, wherever the tool that wrote it thought they were.

Names are relative to some folder, absolute on another machine, or Windows paths. A name that does
not lead to a file from where it should is sought by its base name, and taken where just one file
fits it best; nothing outside the data set's folder is ever opened.
"""

from __future__ import annotations

import os
import os.path
from collections import defaultdict
from pathlib import Path


class PictureFiles:
    """Files below a folder by the names that annotations give them."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read before a name is asked for."""
        self.folder = folder
        self.moved: list[tuple[str, Path]] = []
        """Names whose folders are others than the file's, each with the file it was taken for."""
        self._index: dict[str, list[tuple[str, ...]]] | None = None

    def find(self, file_name: str) -> Path:
        """The file; where there is none, the path at which it should be.

        Raises:
            LookupError: several files fit; the text names two of them.
        """
        parts = _parts(file_name)
        direct = self.folder.joinpath(*parts)
        is_plain = "/".join(parts) == file_name.removeprefix("./")
        if is_plain and os.path.isfile(direct):
            return direct
        literal = self.folder / file_name  # with a backslash in it, which Linux allows
        if "/" not in file_name and os.path.isfile(literal):
            return literal
        found = self._best(parts)
        if len(found) > 1:
            one, other = ("/".join(parts) for parts in found[:2])
            raise LookupError(f"fits {one} and {other} in {self.folder}")
        if not found:
            return direct if is_plain else self.folder / parts[-1]
        path = self.folder.joinpath(*found[0])
        if not path.as_posix().endswith(f"/{file_name}"):
            self.moved.append((file_name, path))
        return path

    def _best(self, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The files of that base name; of several those that share most of the folders above."""
        found = self._named().get(parts[-1], [])
        for length in range(len(parts), 1, -1):
            closer = [path for path in found if path[-length:] == parts[-length:]]
            if closer:
                return closer
        return found

    def _named(self) -> dict[str, list[tuple[str, ...]]]:
        if self._index is None:
            self._index = defaultdict(list)
            for folder, _, names in os.walk(self.folder):
                above = Path(folder).relative_to(self.folder).parts
                for name in names:
                    self._index[name].append((*above, name))
        return self._index


def _parts(file_name: str) -> tuple[str, ...]:
    """The names on the way of a POSIX or a Windows path, from the first that can be a folder's."""
    names = file_name.replace("\\", "/").split("/")
    kept = [name for name in names if name not in ("", ".", "..") and not name.endswith(":")]
    return tuple(kept) or (file_name.strip("/\\. ") or "_",)
