from __future__ import annotations

import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrt.runtime.errors import SessionError
from maskrt.runtime.results.rle import compress, counts_from_crop, rle_from_crop

HW = (9, 7)


def encode_full(crop: np.ndarray, origin: tuple[int, int], image_hw: tuple[int, int]) -> dict:
    full = np.zeros(image_hw, dtype=np.uint8, order="F")
    top, left = origin
    full[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    encoded = coco_mask.encode(full)
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


CASES = {
    "inside": (np.ones((3, 2), bool), (2, 3)),
    "empty": (np.zeros((3, 2), bool), (2, 3)),
    "no crop": (np.zeros((0, 0), bool), (0, 0)),
    "whole picture": (np.ones(HW, bool), (0, 0)),
    "whole picture, empty": (np.zeros(HW, bool), (0, 0)),
    "full-height columns merge": (np.ones((9, 3), bool), (0, 2)),
    "full height, first column": (np.ones((9, 1), bool), (0, 0)),
    "full height, last columns": (np.ones((9, 2), bool), (0, 5)),
    "first pixel": (np.ones((1, 1), bool), (0, 0)),
    "last pixel": (np.ones((1, 1), bool), (8, 6)),
    "bottom rows": (np.ones((2, 7), bool), (7, 0)),
    "top rows": (np.ones((2, 7), bool), (0, 0)),
    "checkerboard": (np.indices(HW).sum(axis=0) % 2 == 0, (0, 0)),
    "bottom then top of the next column": (np.eye(9, 7, dtype=bool)[::-1], (0, 0)),
}


@pytest.mark.parametrize(("crop", "origin"), CASES.values(), ids=CASES.keys())
def test_equals_pycocotools_on_the_full_mask(crop: np.ndarray, origin: tuple[int, int]) -> None:
    assert rle_from_crop(crop, origin, HW) == encode_full(crop, origin, HW)


@pytest.mark.parametrize("order", ["C", "F"])
def test_random_crops_equal_pycocotools(order: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(300):
        image_hw = tuple(int(side) for side in rng.integers(1, 40, 2))
        top, left = (int(rng.integers(0, side)) for side in image_hw)
        height = int(rng.integers(0, image_hw[0] - top + 1))
        width = int(rng.integers(0, image_hw[1] - left + 1))
        crop = np.asarray(rng.random((height, width)) < rng.random(), order=order)
        assert rle_from_crop(crop, (top, left), image_hw) == encode_full(
            crop, (top, left), image_hw
        )


def test_runs_longer_than_one_letter_survive() -> None:
    crop = np.ones((3000, 4000), dtype=bool)
    rle = rle_from_crop(crop, (500, 1000), (4000, 6000))
    assert coco_mask.area(rle) == crop.size
    assert list(coco_mask.toBbox(rle)) == [1000, 500, 4000, 3000]


def test_counts_start_with_zeros_and_sum_to_the_picture() -> None:
    counts = counts_from_crop(np.ones((2, 2), bool), (0, 0), (4, 3))
    assert counts.tolist() == [0, 2, 2, 2, 6]


def test_several_masks_compress_in_order() -> None:
    crops = [np.ones((1, n), dtype=bool) for n in (1, 2, 3)]
    rles = compress([counts_from_crop(crop, (0, 0), HW) for crop in crops], HW)
    assert [int(coco_mask.area(rle)) for rle in rles] == [1, 2, 3]
    assert compress([], HW) == []


def test_missing_pycocotools_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(SessionError, match=r'pip install "\.\[cpu\]"'):
        rle_from_crop(np.ones((1, 1), bool), (0, 0), HW)
