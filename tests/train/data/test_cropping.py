"""Windows of pictures whose instances are known to the pixel."""

import dataclasses

import numpy as np
import pytest

from maskrt.train.data.cropping import Window, cropped
from maskrt.train.data.remains import LEAST_AREA_PX

from .samples import as_run_lengths, box_of, sample_of, square


def star(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[list[float]]:
    """Eleven corners around the middle, near and far: not convex, and beyond the picture."""
    turn = np.sort(rng.uniform(0, 2 * np.pi, 11))
    far = rng.uniform(0.1, 0.8, 11)
    height, width = size_hw
    points = np.stack([width * (0.5 + far * np.cos(turn)), height * (0.5 + far * np.sin(turn))], 1)
    return [points.ravel().tolist()]


def test_a_square_ends_at_the_window_s_edge() -> None:
    sample = sample_of([square(10, 5, 20)], value=7)
    shown = cropped(sample, Window((0, 12), (10, 19)))  # x 10..30, y 5..25
    corners = np.reshape(shown.segmentations, (-1, 2)).tolist()
    assert sorted(corners) == [[0, 5], [0, 10], [18, 5], [18, 10]]
    assert shown.boxes.tolist() == [[0, 5, 18, 10]]
    assert shown.masks().sum() == 18 * 5
    assert shown.image.shape == (10, 19, 3)
    assert (shown.image == 7).all()


def test_what_is_whole_keeps_its_corners_and_box_between_pixels() -> None:
    sample = sample_of([square(20.25, 10.5, 9)])
    box = np.array([[20.25, 10.5, 29.25, 19.5]], np.float32)
    shown = cropped(dataclasses.replace(sample, boxes=box), Window((4, 8), (30, 40)))
    assert shown.segmentations == (square(12.25, 6.5, 9),)
    assert shown.boxes.tolist() == [[12.25, 6.5, 21.25, 15.5]]


def test_a_window_beyond_the_picture_is_zero_there_and_ends_the_masks() -> None:
    sample = sample_of([[[50, 10, 90, 10, 90, 30, 50, 30]]], value=9)  # labelled beyond the picture
    shown = cropped(sample, Window((-5, 30), (60, 80)))
    assert (shown.image[5:45, :30] == 9).all()
    assert shown.image.sum() == 9 * 40 * 30 * 3
    assert shown.boxes.tolist() == [[20, 15, 30, 35]]
    assert shown.masks().sum() == 10 * 20


@pytest.mark.parametrize("seed", range(20))
def test_a_crop_of_polygons_is_the_crop_of_their_masks(seed: int) -> None:
    """Also where what is left of one hangs together along the edge only."""
    rng = np.random.default_rng(seed)
    sample = sample_of([star(rng, (40, 60)) for _ in range(3)])
    y, x = rng.integers(0, (15, 25)).tolist()
    window = Window((y, x), (25, 35))
    shown, runs = cropped(sample, window), cropped(as_run_lengths(sample), window)
    whole = sample.masks()[shown.labels][:, y : y + 25, x : x + 35]
    # pycocotools moves corners to fifths of a pixel, those on the window's edge too
    assert (shown.masks() != whole).sum(axis=(1, 2)).max(initial=0) <= 6
    assert np.array_equal(runs.masks(), sample.masks()[runs.labels][:, y : y + 25, x : x + 35])
    assert np.array_equal(shown.labels, runs.labels)
    for box, mask in zip(runs.boxes, runs.masks(), strict=True):
        assert box.tolist() == [*box_of(mask)]


def test_a_polygon_in_two_pieces_has_the_box_of_both_alone() -> None:
    """A C that goes around the window: only its lower arm is seen, its back is beside it."""
    c = [[-9, -9, 30, -9, 30, -4, -4, -4, -4, 20, 30, 20, 30, 28, -9, 28]]
    sample = cropped(sample_of([[[x + 20 for x in c[0]]]], (60, 60)), Window((20, 20), (30, 30)))
    assert sample.boxes.tolist() == [[0, 20, 30, 28]]
    assert sample.masks().sum() == 30 * 8


def left_of(width: int, height: int) -> list[int]:
    """Labels left of a 40 x 40 square of which so much is in the window, and of one elsewhere."""
    sample = sample_of([square(0, 0, 40), square(50, 50, 5)], (100, 100))
    return cropped(sample, Window((40 - height, 40 - width), (60, 60))).labels.tolist()


def test_slivers_of_instances_go() -> None:
    assert left_of(40, 3) == [0, 1]  # 120 of 1600 pixels, 7.5 %
    assert left_of(2, 40) == [0, 1]  # 80 of 1600 is a twentieth
    assert left_of(1, 40) == [1]
    assert left_of(8, 8) == [0, 1]  # as many pixels as can be named: LEAST_AREA_PX
    assert LEAST_AREA_PX == 8 * 8
    assert left_of(7, 9) == [1]
    assert left_of(0, 40) == [1]


def test_crowds_are_cut_as_objects_are() -> None:
    sample = sample_of([square(10, 5, 20), square(35, 5, 20)], crowds=[True])
    shown = cropped(as_run_lengths(sample), Window((0, 20), (40, 40)))
    assert shown.iscrowd.tolist() == [True, False]
    assert shown.boxes.tolist() == [[0, 5, 10, 25], [15, 5, 35, 25]]


def test_a_picture_without_instances_is_cropped() -> None:
    shown = cropped(sample_of([]), Window((1, 2), (3, 4)))
    assert (shown.image.shape, shown.boxes.shape, shown.masks().shape) == (
        *((3, 4, 3), (0, 4), (0, 3, 4)),
    )
