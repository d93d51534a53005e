from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from maskrt.runtime.results.instances import Instances
from maskrt.runtime.results.plates import plate_places

HW = (300, 400)


def crowd(count: int) -> Instances:
    """Objects close together and over each other, as in a dense scene."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 250, (count, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(10, 150, (count, 2))), axis=1)
    return Instances(
        image_hw=HW,
        boxes=boxes.astype(np.float32),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        labels=np.zeros(count, np.int32),
        mask_probs=None,
        class_names=("pedestrian",),
    )


def test_no_plate_covers_another_and_each_touches_its_box() -> None:
    boxes = crowd(60).boxes
    size = (90, 14)
    found = plate_places([size] * 60, boxes, HW)
    placed = [(box, place) for box, place in zip(boxes, found, strict=True) if place]
    assert len(placed) > 30
    painted = np.zeros(HW, np.int32)
    for (x0, y0, x1, y1), (left, top) in placed:
        painted[top : top + size[1], left : left + size[0]] += 1
        assert left <= x1 + 1 and left + size[0] >= x0 - 1  # noqa: PT018
        assert y0 - size[1] - 1 <= top <= y1 + 1 or top == HW[0] - size[1]
    assert painted.max() == 1
    assert painted.sum() == len(placed) * size[0] * size[1]  # all of each is in the picture


def test_the_better_one_has_its_place_above_its_box() -> None:
    boxes = np.array([[50, 100, 150, 200]] * 2, np.float32)
    assert plate_places([(80, 14)] * 2, boxes, HW) == [(50, 86), (50, 100)]


@pytest.mark.parametrize("size", [(800, 14), (80, 400)])
def test_a_plate_larger_than_the_picture_begins_at_its_edge(size: tuple[int, int]) -> None:
    ((left, top),) = plate_places([size], np.array([[50, 100, 150, 200]], np.float32), HW)
    assert left == 0 or top == 0


def test_a_name_without_a_place_is_left_away() -> None:
    image = np.zeros((*HW, 3), np.uint8)
    one = crowd(1)
    stack = dataclasses.replace(
        one,
        boxes=np.full((9, 4), [100, 100, 140, 120], np.float32),
        scores=np.full(9, 0.9, np.float32),
        labels=np.zeros(9, np.int32),
    )
    assert None in plate_places([(90, 14)] * 9, stack.boxes, HW)
    assert stack.draw(image).any()
