"""The kernels around a network, in Triton's interpreter, against what the CPU does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maskrt.runtime.contract import Contract, ResizeRule, TensorSpec
from maskrt.runtime.gpu.kernels.launch import Launch
from maskrt.runtime.gpu.kernels.shipped import load_kernel
from maskrt.runtime.gpu.masks import (
    counts_from_marks,
    mark_runs_launch,
    paste_masks_launch,
    words_of,
)
from maskrt.runtime.gpu.pictures import place_picture_launch
from maskrt.runtime.pictures.preprocess import place_on_canvas
from maskrt.runtime.results.masks import paste_masks, paste_one
from maskrt.runtime.results.rle import counts_from_crop

Array = npt.NDArray[Any]

CANVAS = (64, 96)
UNTOUCHED = 77
ONE_GREY_LEVEL = 1
EQUAL_SHARE = 0.99


def canvas_contract(rule: ResizeRule) -> Contract:
    return Contract(
        model="mask_rcnn",
        variant="tiny",
        task="instances",
        class_names=("thing",),
        canvas_hw=CANVAS,
        batch=1,
        resize=rule,
        channel_order="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        inputs=(
            TensorSpec("images", (1, *CANVAS, 3), "uint8"),
            TensorSpec("image_sizes", (1, 2), "int32"),
        ),
        outputs=(TensorSpec("scores", (1, 1), "float32"),),
        precision="fp32",
        operators=(),
        checkpoint_sha256="0" * 64,
    )


FILL = ResizeRule(short_side_px=0, long_side_px=96)
MULTIPLE = ResizeRule(short_side_px=0, long_side_px=80, multiple_px=4)
SHORT = ResizeRule(short_side_px=40, long_side_px=90)
_random = np.random.default_rng(11)
PICTURES: dict[str, tuple[tuple[int, int], ResizeRule]] = {
    "one pixel": ((1, 1), FILL),
    "one row": ((1, 300), FILL),
    "one column": ((300, 1), FILL),
    "exact canvas": (CANVAS, FILL),
    "twice the canvas": ((128, 192), FILL),
    "three times": ((192, 288), FILL),
    "half the canvas": ((32, 48), FILL),
    "one pixel more": ((65, 97), FILL),
    "upscaled": ((20, 31), FILL),
    "upscaled portrait": ((31, 9), MULTIPLE),
    "downscaled": ((333, 501), MULTIPLE),
    "downscaled portrait": ((411, 230), SHORT),
    "much larger": ((1200, 1601), FILL),
} | {
    f"random {i}": ((int(_random.integers(1, 200)), int(_random.integers(1, 300))), rule)
    for i, rule in enumerate([MULTIPLE, SHORT])
}


def picture(name: str) -> npt.NDArray[np.uint8]:
    """Noise, where every rounding shows."""
    rng = np.random.default_rng(len(name))
    return rng.integers(0, 256, (*PICTURES[name][0], 3), dtype=np.uint8)


def picture_case(name: str) -> dict[str, Any]:
    """Placed in slot 1 of two."""
    contract, image = canvas_contract(PICTURES[name][1]), picture(name)
    _, ((height, width),) = place_on_canvas([image], contract)
    kernel = load_kernel("place_picture", "8.0")
    launch = place_picture_launch(kernel, image.shape[:2], (height, width), CANVAS, 1)
    output = np.full((2, *CANVAS, 3), UNTOUCHED, np.uint8)
    return case(name, "place_picture", (image,), launch, output)


MASK_HW = (61, 83)
PASTES: dict[str, tuple[int, float, tuple[int, int]]] = {
    "a low threshold": (14, 0.2, MASK_HW),
    "a fine map": (40, 0.5, (29, 43)),
    "one cell, more rows than a tile": (1, 0.25, (150, 9)),
}
"""Cells per side of a map, threshold, height and width of the picture."""
ODD_BOXES = [
    [5, 5, 5, 9],
    [9, 5, 5, 9],
    [-20, -20, -5, -5],
    [100, 100, 120, 120],
    [np.nan, 0, 5, 5],
    [3, np.nan, 9, 9],
    [0, 0, np.nan, 9],
    [3.4, 2, 3.4000003, 9],
    [-1e9, -1e9, 1e9, 1e9],
    [0, 0, 1e-44, 5],
    [0, 0, 83, 61],
    [3, 2, 7, 5],
]


def masks_and_boxes(
    cells: int, image_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Noisy maps, and boxes of 1 px to beyond the picture, many across its borders; odd ones."""
    rng = np.random.default_rng(cells)
    limit = np.array(image_hw[::-1])
    sides = np.exp(rng.uniform(0.0, np.log(1.3 * limit), (7, 2)))
    corners = rng.uniform(-0.2, 1.0, (7, 2)) * limit
    boxes = np.concatenate((np.concatenate((corners, corners + sides), 1), ODD_BOXES))
    masks = rng.random((len(boxes), cells, cells), dtype=np.float32)
    masks[3:6] *= 0.1  # nothing of these reaches a threshold
    masks[-1] = 1.0
    return masks, boxes.astype(np.float32)


def paste_case(name: str) -> dict[str, Any]:
    cells, threshold, image_hw = PASTES[name]
    masks, boxes = masks_and_boxes(cells, image_hw)
    kernel = load_kernel("paste_masks", "8.0")
    launch = paste_masks_launch(kernel, len(masks), cells, image_hw, threshold)
    output = np.full((len(masks), *image_hw[::-1]), UNTOUCHED, np.uint8)
    return case(name, "paste_masks", (masks, boxes), launch, output)


RUNS_HW = {"runs": MASK_HW, "runs of whole words": (32, 3), "runs of many words": (89, 61)}


def binary_masks(image_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(D, w, h): noise, all, nothing, the first pixel, the last pixel, all but the first."""
    rng = np.random.default_rng(image_hw[0])
    masks = np.zeros((6, *image_hw[::-1]), np.uint8)
    masks[0] = rng.random(image_hw[::-1]) < 0.3
    masks[[1, 5]] = 1
    masks[3, 0, 0] = masks[4, -1, -1] = 1
    masks[5, 0, 0] = 0
    return masks


def runs_case(name: str) -> dict[str, Any]:
    masks = binary_masks(RUNS_HW[name])
    pixels = masks[0].size
    launch = mark_runs_launch(load_kernel("mark_runs", "8.0"), len(masks), pixels)
    output = np.full((len(masks), words_of(pixels)), UNTOUCHED, np.int32)
    return case(name, "mark_runs", (masks,), launch, output)


def case(
    name: str, kernel: str, inputs: tuple[Array, ...], launch: Launch, output: Array
) -> dict[str, Any]:
    """As `interpret_kernels.py` reads it."""
    parts = {"kernel": kernel, "grid": launch.grid, "scalars": launch.scalars, "output": output}
    arrays = dict(zip(("first", "second"), map(np.ascontiguousarray, inputs), strict=False))
    return {f"{name}.{part}": value for part, value in (parts | arrays).items()}


@pytest.fixture(scope="module")
def interpreted(interpret: Callable[[dict[str, Any]], dict[str, Array]]) -> dict[str, Array]:
    """What the kernels make of every case."""
    arrays: dict[str, Any] = {}
    for name in PICTURES:
        arrays |= picture_case(name)
    for name in PASTES:
        arrays |= paste_case(name)
    for name in RUNS_HW:
        arrays |= runs_case(name)
    return interpret(arrays)


@pytest.mark.parametrize("name", PICTURES)
def test_a_placed_picture_is_the_cpus_canvas(name: str, interpreted: dict[str, Array]) -> None:
    canvases, ((height, width),) = place_on_canvas(
        [picture(name)], canvas_contract(PICTURES[name][1])
    )
    other, found = interpreted[name]
    assert (other == UNTOUCHED).all(), "another slot was written"
    assert not found[height:].any()
    assert not found[:, width:].any()
    difference = np.abs(found.astype(int) - canvases[0])[:height, :width]
    assert difference.max() <= ONE_GREY_LEVEL
    assert (difference == 0).mean() >= EQUAL_SHARE


def test_pictures_scale_up_and_down_and_fill_the_canvas_or_not() -> None:
    sizes = {}
    for name, (_, rule) in PICTURES.items():
        _, (size,) = place_on_canvas([picture(name)], canvas_contract(rule))
        sizes[name] = tuple(size)
    assert sizes["exact canvas"] == sizes["twice the canvas"] == CANVAS
    assert sizes["one column"] == (64, 1)
    assert sizes["one row"] == (1, 96)
    assert sizes["downscaled portrait"][0] > sizes["downscaled portrait"][1]
    assert len(set(sizes.values())) > 8


@pytest.mark.parametrize("name", PASTES)
def test_pasted_masks_are_the_cpus_pixels(name: str, interpreted: dict[str, Array]) -> None:
    cells, threshold, image_hw = PASTES[name]
    masks, boxes = masks_and_boxes(cells, image_hw)
    want = paste_masks(masks, boxes, image_hw, threshold)
    filled = want.any(axis=(1, 2))
    assert filled.sum() >= 4
    assert not filled.all()
    found = interpreted[name].swapaxes(1, 2)
    np.testing.assert_array_equal(found, want.astype(np.uint8))


@pytest.mark.parametrize("name", RUNS_HW)
def test_marked_runs_are_the_cpus_counts(name: str, interpreted: dict[str, Array]) -> None:
    height, width = RUNS_HW[name]
    masks = binary_masks((height, width))
    marks = interpreted[name].view(np.uint32)
    for mask, row in zip(masks, marks, strict=True):
        want = counts_from_crop(mask.T.astype(bool), (0, 0), (height, width))
        np.testing.assert_array_equal(counts_from_marks(row, height * width), want)


def test_counts_of_pasted_masks_are_those_of_their_crops(interpreted: dict[str, Array]) -> None:
    """From one kernel to the other: the pixels in the order that the marks are counted in."""
    name, (cells, threshold, image_hw) = next(iter(PASTES.items()))
    masks, boxes = masks_and_boxes(cells, image_hw)
    for pixels, mask, box in zip(interpreted[name], masks, boxes, strict=True):
        flat = np.diff(pixels.reshape(-1), prepend=0) != 0
        marks = np.packbits(np.pad(flat, (0, -flat.size % 32)), bitorder="little").view(np.uint32)
        want = counts_from_crop(*paste_one(mask, box, image_hw, threshold), image_hw)
        np.testing.assert_array_equal(counts_from_marks(marks, flat.size), want)


def test_launches_name_the_kernels_arguments_in_order() -> None:
    place = load_kernel("place_picture", "8.9")
    assert place.arguments == (
        "picture", "height", "width", "scaled_height", "scaled_width", "slot", "canvas_height",
        "canvas_width", "canvas",
    )  # fmt: skip
    launch = place_picture_launch(place, (480, 640), (800, 1067), (800, 1344), 3)
    assert launch == Launch((100, 16, 1), (480, 640, 800, 1067, 3, 800, 1344))
    paste = load_kernel("paste_masks", "8.9")
    names = ("masks", "boxes", "cells", "height", "width", "threshold_bits", "pixels")
    assert paste.arguments == names
    launch = paste_masks_launch(paste, 100, 28, (800, 1333), 0.5)
    assert launch == Launch((100, 167, 7), (28, 800, 1333, 0x3F000000))
    mark = load_kernel("mark_runs", "8.9")
    assert mark.arguments == ("masks", "pixels", "words", "marks")
    assert mark_runs_launch(mark, 100, 800 * 1333) == Launch((100, 261, 1), (1066400, 33325))
