"""Sizes from headers are those of the decoded pictures, EXIF orientation included."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.annotations import read_split
from maskrt.eval.coco.pictures import require_pictures
from maskrt.eval.datasets.picture_sizes import header_size_hw
from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.preprocess import read_image


def tiff(orientation, order):
    """An EXIF block with one entry, of either byte order."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def turned(path, orientation, order):
    """`path` with an EXIF orientation in front of what it holds."""
    data = path.read_bytes()
    exif = b"Exif\0\0" + tiff(orientation, order)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path.write_bytes(data[:2] + segment + data[2:])
    return path


def require_split(folder):
    found = read_split(folder, "val")
    require_pictures(found.images, found.annotation_file)


@pytest.fixture
def picture(tmp_path):
    """Writes a picture of 30 x 50 (h x w) in the format that a name asks for."""

    def write(name, *parameters):
        path = tmp_path / name
        assert cv2.imwrite(str(path), np.full((30, 50, 3), 90, np.uint8), parameters)
        return path

    return write


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_of_a_jpeg_is_that_of_its_pixels(picture, orientation, order):
    path = turned(picture("a.jpg"), orientation, order)
    assert header_size_hw(path) == read_image(path).shape[:2]
    assert header_size_hw(path) == ((50, 30) if orientation > 4 else (30, 50))


@pytest.mark.parametrize("at_the_end", [False, True])
def test_an_orientation_of_a_png_is_honoured_where_it_stands(folder, at_the_end):
    """As OpenCV reads it; a size that only a decoder can tell is left to one."""
    record = read_split(folder, "val").images[0]
    cv2.imwrite(str(record.path), np.zeros((240, 200, 3), np.uint8))
    data = record.path.read_bytes()
    body = b"eXIf" + tiff(6, ">")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    place = data.index(b"IEND" if at_the_end else b"IDAT") - 4
    record.path.write_bytes(data[:place] + chunk + data[place:])
    assert read_image(record.path).shape[:2] == record.image_hw
    require_split(folder)
    assert header_size_hw(record.path) == ((240, 200) if at_the_end else (200, 240))


def test_other_formats_and_what_is_cut_off_tell_a_size_or_none(picture):
    assert header_size_hw(picture("a.png")) == (30, 50)
    assert header_size_hw(picture("p.jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == (30, 50)
    assert header_size_hw(picture("a.bmp")) is None
    for name in ("a.png", "p.jpg"):
        path = picture(name)
        whole = path.read_bytes()
        for size in (0, 5, 20, len(whole) - 1):
            path.write_bytes(whole[:size])
            assert header_size_hw(path) is None


def test_a_picture_that_labels_do_not_fit_is_named_before_anything_is_drawn(folder):
    record = read_split(folder, "val").images[1]
    cv2.imwrite(str(record.path), np.zeros((240, 200, 3), np.uint8))
    with pytest.raises(InputError, match=r"12\.png: 240x200 pixels; .* 200x240 .*turned, as by"):
        require_split(folder)
    cv2.imwrite(str(record.path), np.zeros((200, 240, 3), np.uint8))
    record.path.write_bytes(record.path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"12\.png: not a whole picture"):
        require_split(folder)
    record.path.unlink()
    with pytest.raises(InputError, match=r"12\.png: no such picture \(1 of the 3"):
        require_split(folder)
