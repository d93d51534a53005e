from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from maskrt.runtime.contract import Contract, ResizeRule
from maskrt.runtime.errors import ContractError, InputError
from maskrt.runtime.pictures.preprocess import place_on_canvas, read_image, scaled_size_hw

BIG_CANVAS = (5000, 5000)


def colours(height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path: Path, image: PillowImage.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_png_reads_as_rgb(tmp_path: Path) -> None:
    pixels = colours()
    path = saved(tmp_path / "a.png", PillowImage.fromarray(pixels))
    assert np.array_equal(read_image(path), pixels)
    assert np.array_equal(read_image(str(path)), pixels)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    pixels = np.dstack((colours(), np.full((4, 6), 9, np.uint8)))
    image = read_image(saved(tmp_path / "a.png", PillowImage.fromarray(pixels)))
    assert np.array_equal(image, pixels[..., :3])


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = colours()[..., 0]
    image = read_image(saved(tmp_path / "a.png", PillowImage.fromarray(grey)))
    assert np.array_equal(image, np.dstack((grey, grey, grey)))


def test_16_bit_is_scaled_to_8(tmp_path: Path) -> None:
    deep = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255  # left half white
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be shown turned 90 degrees clockwise: left becomes top
    path = saved(tmp_path / f"a.{suffix}", PillowImage.fromarray(pixels), exif=exif)
    image = read_image(path)
    assert image.shape == (32, 16, 3)
    assert image[2].mean() > 250
    assert image[-2].mean() < 5


def jpeg_bytes(tmp_path: Path) -> bytes:
    return saved(tmp_path / "whole.jpg", PillowImage.fromarray(colours(64, 64))).read_bytes()


def test_broken_pictures_are_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = jpeg_bytes(tmp_path)
    png = saved(tmp_path / "whole.png", PillowImage.fromarray(colours(64, 64))).read_bytes()
    for name, data in [
        ("text.jpg", b"not a picture at all"),
        ("empty.png", b""),
        ("half.jpg", whole[: len(whole) // 2]),
        ("half.png", png[: len(png) // 2]),
    ]:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"{name}: not a whole picture"):
            read_image(path)
    assert capfd.readouterr().err == ""  # OpenCV's own warnings stay out of the terminal


def test_missing_file_and_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match=r"could not be read .File name too long"):
        read_image(tmp_path / ("x" * 5000))
    with pytest.raises(InputError, match="a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("image_hw", "rule", "canvas_hw", "expected"),
    [
        ((480, 640), ResizeRule(800, 1333), BIG_CANVAS, (800, 1067)),
        ((427, 640), ResizeRule(800, 1333), BIG_CANVAS, (800, 1199)),
        ((300, 1000), ResizeRule(800, 1333), BIG_CANVAS, (400, 1333)),
        ((480, 640), ResizeRule(800, 1333), (800, 1000), (750, 1000)),
        ((480, 640), ResizeRule(0, 1300, 4), BIG_CANVAS, (972, 1300)),
        ((375, 500), ResizeRule(0, 1300, 4), (972, 1300), (972, 1300)),
        ((376, 501), ResizeRule(0, 1300, 4), (972, 1300), (972, 1300)),
        ((907, 1210), ResizeRule(0, 1300, 4), (972, 1300), (972, 1300)),
        ((500, 375), ResizeRule(0, 1300, 4), (972, 1300), (972, 728)),
        ((480, 640), ResizeRule(0, 1300, 4), (652, 868), (652, 868)),
        ((480, 640), ResizeRule(0, 1300, 4), (653, 870), (652, 868)),
        ((480, 480), ResizeRule(0, 1300, 4), (972, 1300), (972, 972)),
        ((1234, 1234), ResizeRule(0, 868, 4), BIG_CANVAS, (868, 868)),
        ((1, 1), ResizeRule(800, 1333), (64, 48), (48, 48)),
        ((5000, 20), ResizeRule(800, 1333), (800, 1344), (800, 3)),
        ((5000, 1), ResizeRule(800, 1333), (800, 1344), (800, 1)),
        ((5000, 20), ResizeRule(0, 1300, 4), (1300, 1300), (1300, 4)),
        ((100, 100), ResizeRule(0, 100, 32), (100, 100), (96, 96)),
    ],
    ids=lambda value: str(value).replace("ResizeRule", ""),
)
def test_scaled_size(
    image_hw: tuple[int, int],
    rule: ResizeRule,
    canvas_hw: tuple[int, int],
    expected: tuple[int, int],
) -> None:
    assert scaled_size_hw(image_hw, rule, canvas_hw) == expected


def test_scaled_size_never_leaves_the_canvas() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        height, width, high, wide = (int(side) for side in rng.integers(1, 3000, 4))
        size = scaled_size_hw((height, width), ResizeRule(800, 1333), (high, wide))
        assert 1 <= size[0] <= high
        assert 1 <= size[1] <= wide


def test_pictures_stand_top_left_and_the_rest_is_zero(tiny_contract: Contract) -> None:
    images = [np.full((16, 48, 3), 200, np.uint8), np.full((64, 32, 3), 90, np.uint8)]
    canvases, sizes = place_on_canvas(images, tiny_contract)
    assert canvases.shape == (2, 32, 48, 3)
    assert canvases.dtype == np.uint8
    assert sizes.dtype == np.int32
    assert sizes.tolist() == [[16, 48], [32, 16]]
    for canvas, (height, width), value in zip(canvases, sizes, (200, 90), strict=True):
        assert (canvas[:height, :width] == value).all()
        assert canvas.sum(dtype=int) == 3 * value * height * width


def test_a_picture_of_canvas_size_is_unchanged(tiny_contract: Contract) -> None:
    picture = colours(32, 48)
    canvases, _ = place_on_canvas([picture], tiny_contract)
    assert np.array_equal(canvases[0], picture)


def test_unused_canvases_are_black_one_by_one(tiny_contract: Contract) -> None:
    canvases, sizes = place_on_canvas([colours()], tiny_contract)
    assert sizes[1].tolist() == [1, 1]
    assert not canvases[1].any()


@pytest.mark.parametrize("shape", [(1, 1), (5000, 20), (20, 5000), (1, 40000)], ids=str)
def test_odd_pictures_go_through(tiny_contract: Contract, shape: tuple[int, int]) -> None:
    canvases, sizes = place_on_canvas([np.full((*shape, 3), 7, np.uint8)], tiny_contract)
    height, width = sizes[0]
    assert (canvases[0, :height, :width] == 7).all()


def test_strided_views_are_accepted(tiny_contract: Contract) -> None:
    picture = colours(32, 48)
    canvases, _ = place_on_canvas([picture[::-1, :, ::-1]], tiny_contract)
    assert np.array_equal(canvases[0], picture[::-1, :, ::-1])


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        "photo.jpg",
    ],
    ids=["grey", "alpha", "float", "empty", "a path"],
)
def test_what_is_not_a_picture_is_refused(tiny_contract: Contract, picture: object) -> None:
    with pytest.raises(ContractError, match=r"picture 1: got .* expected non-empty \(H, W, 3\)"):
        place_on_canvas([colours(), picture], tiny_contract)


def test_more_pictures_than_the_batch_are_refused(tiny_contract: Contract) -> None:
    with pytest.raises(ContractError, match="got 2 pictures; one batch takes 1"):
        place_on_canvas([colours()] * 2, dataclasses.replace(tiny_contract, batch=1))
