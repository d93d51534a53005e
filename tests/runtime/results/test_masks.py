from __future__ import annotations

import numpy as np
import pytest

from maskrt.runtime.errors import ContractError
from maskrt.runtime.results.masks import foreground_box, paste_masks, paste_one

NEAR_THRESHOLD = 1e-5  # float32 coordinates round differently: 28 cells x 1.2e-7, with room
NEAR_SHARE = 1e-4  # of all pixels: excluding more would hide errors


def grid_sample_values(mask: np.ndarray, box: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """The straightforward way: every pixel of the picture sampled by torch, zeros outside."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    height, width = image_hw
    x0, y0, x1, y1 = torch.from_numpy(box)
    x = (torch.arange(width) + 0.5 - x0) / (x1 - x0) * 2 - 1
    y = (torch.arange(height) + 0.5 - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1)
    masks = torch.from_numpy(mask)[None, None]
    values = torch.nn.functional.grid_sample(masks, grid[None], align_corners=False)
    sampled: np.ndarray = values[0, 0].numpy()
    return sampled


def random_case(m: int, image_hw: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy masks, and boxes of 1 px to beyond the picture, many crossing its borders."""
    rng = np.random.default_rng(seed)
    limit = np.array(image_hw[::-1])
    sides = np.exp(rng.uniform(0.0, np.log(1.3 * limit), (24, 2)))
    corners = rng.uniform(-0.2, 1.0, (24, 2)) * limit
    boxes = np.concatenate((corners, corners + sides), axis=1).astype(np.float32)
    return rng.random((24, m, m), dtype=np.float32), boxes


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(
    ("m", "image_hw"), [(14, (97, 150)), (28, (200, 133)), (40, (64, 300)), (5, (1, 50))]
)
def test_pixels_equal_grid_sample_on_the_whole_picture(
    m: int, image_hw: tuple[int, int], threshold: float
) -> None:
    masks, boxes = random_case(m, image_hw, seed=m)
    pasted = paste_masks(masks, boxes, image_hw, threshold)
    values = np.stack([grid_sample_values(*pair, image_hw) for pair in zip(masks, boxes)])  # noqa: B905
    near = np.abs(values - threshold) <= NEAR_THRESHOLD
    assert near.mean() < NEAR_SHARE
    assert pasted.any()
    assert np.array_equal(pasted[~near], (values >= threshold)[~near])


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("rest", [0.0, 0.15])
def test_leaving_out_cells_below_the_threshold_changes_no_pixel(
    threshold: float, rest: float
) -> None:
    """One to five rows and columns of the map are noise, at its edges too; the rest is below."""
    masks, boxes = random_case(20, (120, 90), seed=3)
    rng = np.random.default_rng(4)
    for mask in masks:
        top, left = rng.integers(0, 20, 2)
        height, width = rng.integers(1, 6, 2)
        inside = mask[top : top + height, left : left + width].copy()
        mask[:] = rest
        mask[top : top + height, left : left + width] = inside
    pasted = paste_masks(masks, boxes, (120, 90), threshold)
    values = np.stack([grid_sample_values(*pair, (120, 90)) for pair in zip(masks, boxes)])  # noqa: B905
    near = np.abs(values - threshold) <= NEAR_THRESHOLD
    assert near.mean() < NEAR_SHARE
    assert pasted.any()
    assert np.array_equal(pasted[~near], (values >= threshold)[~near])


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_the_foreground_box_is_that_of_the_pasted_mask(threshold: float) -> None:
    masks, boxes = random_case(6, (60, 80), seed=5)
    masks *= np.random.default_rng(6).random((24, 1, 1), dtype=np.float32)  # some reach nothing
    full = paste_masks(masks, boxes, (60, 80), threshold)
    found = [
        foreground_box(*paste_one(mask, box, (60, 80), threshold))
        for mask, box in zip(masks, boxes, strict=True)
    ]
    empty = 0
    for box, mask in zip(found, full, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not mask.any():
            empty += 1
            assert box == (0, 0, 0, 0)
        else:
            assert box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert 0 < empty < 24


def test_a_whole_pixel_box_of_ones_covers_exactly_its_pixels() -> None:
    box = np.array([3, 2, 7, 5], dtype=np.float32)
    pasted = paste_masks(np.ones((1, 4, 4), np.float32), box[None], (8, 10))[0]
    expected = np.zeros((8, 10), dtype=bool)
    expected[2:5, 3:7] = True
    assert np.array_equal(pasted, expected)


def test_a_value_on_the_threshold_is_foreground() -> None:
    half = np.full((2, 2), 0.5, dtype=np.float32)
    crop, _ = paste_one(half, np.array([0, 0, 2, 2], np.float32), (2, 2))
    assert crop.all()


def test_a_low_threshold_reaches_outside_the_box_as_zero_padding_says() -> None:
    # One cell is 10 px: 0.2 is reached where u >= -0.8, so 0.3 cells = 3 px outside the box.
    crop, (top, left) = paste_one(
        np.ones((2, 2), np.float32), np.array([20, 20, 40, 40], np.float32), (60, 60), 0.2
    )
    rows = np.flatnonzero(crop[:, crop.shape[1] // 2]) + top
    assert (rows[0], rows[-1]) == (17, 42)
    assert left <= 17


def test_the_crop_stays_on_the_box() -> None:
    crop, (top, left) = paste_one(
        np.ones((28, 28), np.float32), np.array([10.3, 5.6, 30.2, 9.1], np.float32), (800, 1333)
    )
    assert (top, left, *crop.shape) == (5, 10, 5, 21)


@pytest.mark.parametrize(
    "box",
    [
        [5, 5, 5, 9],
        [9, 5, 5, 9],
        [-20, -20, -5, -5],
        [100, 100, 120, 120],
        [np.nan, 0, 5, 5],
    ],
    ids=["no width", "reversed", "left of it", "right of it", "nan"],
)
def test_a_box_without_pixels_gives_an_empty_mask(box: list[float]) -> None:
    masks = np.ones((1, 4, 4), dtype=np.float32)
    assert not paste_masks(masks, np.array([box], dtype=np.float32), (20, 30)).any()


@pytest.mark.parametrize(
    "box", [[3.4, 2, 3.4000003, 9], [-1e9, -1e9, 1e9, 1e9], [0, 0, 1e-44, 5]], ids=str
)
def test_extreme_boxes_paste_without_a_warning(box: list[float]) -> None:
    crop, _ = paste_one(np.ones((4, 4), np.float32), np.array(box, np.float32), (20, 30))
    assert crop.size <= 600


def test_no_masks_give_an_empty_stack() -> None:
    pasted = paste_masks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), (5, 6))
    assert pasted.shape == (0, 5, 6)
    assert pasted.dtype == np.bool_


def test_masks_and_boxes_must_agree() -> None:
    with pytest.raises(ContractError, match=r"\(2, 4, 4\) and boxes \(3, 4\)"):
        paste_masks(np.zeros((2, 4, 4), np.float32), np.zeros((3, 4), np.float32), (5, 6))
