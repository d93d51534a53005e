"""Sizes read from files that OpenCV wrote, and from ones that lie."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from maskrt.runtime.pictures.header import is_float_tiff, stated_size_hw, why_refused

PICTURE = np.zeros((123, 457, 3), np.uint8)


def encoded(suffix: str, options: tuple[int, ...] = (), picture: np.ndarray = PICTURE) -> bytes:
    written, data = cv2.imencode(suffix, picture, options)
    assert written
    return bytes(data.tobytes())


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", ()),
        (".jpg", ()),
        (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        (".bmp", ()),
        (".tif", ()),
        (".webp", ()),
        (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)),
        (".avif", ()),
    ],
)
def test_the_size_is_the_pictures_and_a_cut_header_has_none(
    suffix: str, options: tuple[int, ...]
) -> None:
    data = encoded(suffix, options)
    assert stated_size_hw(data) == PICTURE.shape[:2]
    assert why_refused(data) is None
    for length in range(20):
        assert stated_size_hw(data[:length]) in (None, PICTURE.shape[:2])


def test_other_containers_of_webp_and_tiff_and_gif_state_theirs() -> None:
    extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + bytes([200, 1, 0, 122, 0, 0])
    assert stated_size_hw(extended) == (123, 457)
    big_endian = b"MM\0*\0\0\0\x08\0\x02" + b"\x01\0\0\x04\0\0\0\x01\0\0\x01\xc9"
    big_endian += b"\x01\x01\0\x03\0\0\0\x01\0\x7b\0\0"
    assert stated_size_hw(big_endian) == (123, 457)
    assert stated_size_hw(b"GIF89a\xc9\x01\x7b\0") == (123, 457)
    assert stated_size_hw(b"????ftypavif") is None


def stated(data: bytes, side_px: int) -> bytes:
    """A baseline JPEG with another size in its header."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + 2 * side_px.to_bytes(2, "big") + data[at + 4 :]


@pytest.mark.parametrize(
    ("side_px", "found"),
    [
        (9_990, None),
        (32_000, "its header states 32000 x 32000 px in .* at most 100 million pixels"),
        (33_000, r"its header states 33000 x 33000 px; expected at most 2\^30 pixels"),
    ],
)
def test_more_pixels_than_the_file_may_hold_are_refused(side_px: int, found: str | None) -> None:
    refused = why_refused(stated(encoded(".jpg"), side_px))
    assert refused is None if found is None else re.match(found, refused or "")
    if side_px == 32_000:  # a file of 20 MB may
        assert why_refused(stated(encoded(".jpg"), side_px) + bytes(20_000_000)) is None


def test_a_tiff_of_floats_is_known() -> None:
    assert is_float_tiff(encoded(".tif", picture=PICTURE.astype(np.float32)))
    assert not is_float_tiff(encoded(".tif", picture=PICTURE.astype(np.uint16)))
    assert not is_float_tiff(encoded(".png"))
    assert not is_float_tiff(b"II*\0\xff")
