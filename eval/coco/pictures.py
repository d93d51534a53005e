"""Pictures that annotations list: found, known by their size, and there before a run begins.

A picture that is absent, cut off, of another size or turned by its EXIF orientation would end a run
when it is drawn, hours late. JPEG and PNG tell their size in a few hundred bytes and end in a
marker; what they leave in doubt is decoded. Other formats are measured when they are drawn.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.pictures.preprocess import read_image
from ..datasets.picture_files import PictureFiles
from ..datasets.picture_sizes import header_size_hw
from .rows import Reading, Row, shown

_MEASURED = (".jpg", ".jpeg", ".png")
_LONGEST_SIDE_PX, _MOST_PIXELS = 2**20, 2**30  # what OpenCV decodes


@dataclass(frozen=True)
class ImageRecord:
    """One picture of the split."""

    image_id: int
    path: Path
    image_hw: tuple[int, int]
    """Height and width in pixels as the annotation file states them."""


def read_images(
    file: Path, rows: Sequence[Row], folder: Path, reading: Reading
) -> dict[int, ImageRecord]:
    """The pictures of an annotation file by id; no id and no file is listed twice.

    Those that are elsewhere than the file says are remarked. Whether they exist is not checked.

    Args:
        file: of the annotations.
        rows: its images.
        folder: that holds them, or whose folders do.
        reading: takes faults and remarks.

    Raises:
        InputError: a value is impossible or given twice, or a name fits several files.
    """
    pictures = PictureFiles(folder)
    images: dict[int, ImageRecord] = {}
    places: dict[Path, int] = {}
    for row in rows:
        try:
            record = _image(row, pictures)
            _require_new(row, record, images, places)
        except InputError as err:
            reading.refuse(err, row)
            continue
        images[record.image_id], places[record.path] = record, row.index
    _say_moved(file, pictures, len(images), reading)
    return images


def _require_new(
    row: Row, record: ImageRecord, images: dict[int, ImageRecord], places: dict[Path, int]
) -> None:
    if record.image_id in images:
        other = images[record.image_id].path.name
        found = f"{record.image_id} is given to {other} and to {record.path.name}"
        raise row.refused("id", "an id of its own for each picture", found)
    if record.path in places:
        found = f"is that of images[{places[record.path]}] too: {row.values['file_name']}"
        raise row.refused("file_name", "each picture once", found)


def _image(row: Row, pictures: PictureFiles) -> ImageRecord:
    name = row.text("file_name")
    try:
        path = pictures.find(name)
    except LookupError as err:
        found = f"is {shown(name)}, which {err}"
        raise row.refused("file_name", "a name that fits one picture", found) from err
    height, width = (
        row.whole("height", 1, _LONGEST_SIDE_PX),
        row.whole("width", 1, _LONGEST_SIDE_PX),
    )
    if height * width > _MOST_PIXELS:
        found = f"and width make {height * width} pixels"
        raise row.refused("height", f"at most {_MOST_PIXELS}, which OpenCV reads", found)
    return ImageRecord(row.whole("id"), path, (height, width))


def _say_moved(path: Path, pictures: PictureFiles, total: int, reading: Reading) -> None:
    if pictures.moved:
        name, place = pictures.moved[0]
        text = (
            f"{len(pictures.moved)} of {total} pictures are not where file_name says: found by "
            f"name, e.g. {name} is {place}."
        )
        reading.remark("moved picture", path, text)


def read_record(record: ImageRecord) -> npt.NDArray[np.uint8]:
    """Decode one picture: (H, W, 3) uint8 RGB; InputError when its size is not the recorded one."""
    image = read_image(record.path)
    if image.shape[:2] != record.image_hw:
        raise size_error(record, (image.shape[0], image.shape[1]))
    return image


def size_error(record: ImageRecord, found_hw: tuple[int, int]) -> InputError:
    """The sentence for a picture of another size than annotated."""
    turned = found_hw == record.image_hw[::-1]
    why = ", turned, as by an EXIF orientation that a labelling tool ignored" if turned else ""
    return InputError(
        f"{record.path}: {found_hw[0]}x{found_hw[1]} pixels; the annotations say "
        f"{record.image_hw[0]}x{record.image_hw[1]} (height x width){why}. "
        "Replace the picture or its annotations."
    )


def require_pictures(images: Sequence[ImageRecord], file: Path) -> None:
    """Check that every picture is there and, as far as its header tells, has the annotated size.

    Args:
        images: the pictures.
        file: that lists them, for errors.

    Raises:
        InputError: one is not.
    """
    absent = [image.path for image in images if not os.path.isfile(image.path)]
    if absent:
        raise InputError(
            f"{absent[0]}: no such picture ({len(absent)} of the {len(images)} that "
            f"{file.name} lists are absent). Put the pictures there, or remove "
            "them from the file."
        )
    for image in images:
        require_size(image)


def require_size(image: ImageRecord) -> None:
    """Check that a picture that is there has the annotated size, as far as its header tells.

    Raises:
        InputError: it has another, or is cut off.
    """
    size_hw = header_size_hw(image.path)
    if size_hw == image.image_hw:
        return
    # an orientation at the end of a PNG may turn it after all
    doubtful = size_hw == image.image_hw[::-1]
    if doubtful or (size_hw is None and image.path.suffix.lower() in _MEASURED):
        read_record(image)
    elif size_hw is not None:
        raise size_error(image, size_hw)
