"""`results.json` written while a prediction runs, so that an hour of video takes no memory.

Pictures and instances are appended, each to a file of its own without a name in the same folder; at
the end they become one JSON object that is put in place whole.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ...runtime.closing import Closing
from ...runtime.files import atomic_path, write_error

Row = Mapping[str, Any]
BETWEEN = b",\n"


class ResultsFile(Closing):
    """What is known so far; closing it drops what was not written."""

    def __init__(self, path: Path) -> None:
        """`path` is written by `write` alone; its folder is made when there is something to add."""
        self.path = path
        self._images, self._rows = _Spool(path), _Spool(path)

    @property
    def pictures(self) -> int:
        """How many were added."""
        return self._images.count

    def add(self, image: Row, rows: Iterable[Row]) -> None:
        """Note one picture and its instances; both get ids from 1 on as they come.

        With an area and `iscrowd` the file is annotations as well, for labels made by a network.

        Raises:
            InputError: the disk is full, or the folder cannot be written.
        """
        from pycocotools import mask as coco_mask

        self._images.append({"id": self._images.count + 1, **image})
        for row in rows:
            mask = row.get("segmentation")  # a network without masks gives boxes alone
            area = int(coco_mask.area(mask)) if mask else row["bbox"][2] * row["bbox"][3]
            self._rows.append({"id": self._rows.count + 1, "area": area, "iscrowd": 0, **row})

    def mark(self) -> Callable[[], None]:
        """A function that takes back all that is added from now on."""
        spools = (self._images, self._rows)
        marks = [spool.place() for spool in spools]

        def take_back() -> None:
            for spool, place in zip(spools, marks, strict=True):
                spool.cut(*place)

        return take_back

    def write(self, categories: Sequence[Row], no_overlay: Collection[str]) -> None:
        """Put the whole in place; pictures whose `overlay` is in `no_overlay` get null for it.

        Raises:
            InputError: it cannot be written; a file of that name is left as it was.
        """
        with atomic_path(self.path) as temporary, temporary.open("wb") as out:
            out.write(b'{"images":[')
            self._images.copy_to(out, lambda line: _without(line, no_overlay))
            out.write(b'],"categories":' + _encoded(categories) + b',"annotations":[')
            self._rows.copy_to(out, None)
            out.write(b"]}\n")

    def close(self) -> None:
        """Let go of the files; a second call does nothing."""
        self._images.close()
        self._rows.close()


class _Spool:
    """JSON values, one a line with commas between, in a file that has no name."""

    def __init__(self, beside: Path) -> None:
        self.count = 0
        self._beside = beside
        self._file: IO[bytes] | None = None

    def append(self, value: Row) -> None:
        try:
            if self._file is None:
                self._beside.parent.mkdir(parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._beside.parent)  # noqa: SIM115
            self._file.write((BETWEEN if self.count else b"") + _encoded(value))
        except OSError as err:
            raise write_error(self._beside, err) from err
        self.count += 1

    def place(self) -> tuple[int, int]:
        """How many values there are, and in how many bytes."""
        return self.count, 0 if self._file is None else self._file.tell()

    def cut(self, count: int, length: int) -> None:
        """Keep the first `count` values, which take `length` bytes."""
        self.count = count
        if self._file is not None:
            self._file.seek(length)
            self._file.truncate()

    def copy_to(self, out: IO[bytes], change: Callable[[bytes], bytes] | None) -> None:
        """Write all values, each line changed where there is a change to make."""
        if self._file is None:
            return
        self._file.seek(0)
        if change is None:
            shutil.copyfileobj(self._file, out)
        else:
            out.writelines(map(change, self._file))

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk has been said already
                self._file.close()


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _without(line: bytes, no_overlay: Collection[str]) -> bytes:
    """The line of a picture, its overlay null where that could not be written."""
    if not no_overlay:
        return line
    text = line.removesuffix(BETWEEN)
    image = json.loads(text)
    if image["overlay"] in no_overlay:
        image["overlay"] = None
    return _encoded(image) + line[len(text) :]
