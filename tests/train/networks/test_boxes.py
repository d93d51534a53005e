"""Anchors, the delta code, clipping and overlaps, by hand."""

import math

import pytest
import torch

from maskrt.train.networks.boxes import (
    MAX_LOG_SCALE,
    anchors_for,
    areas,
    clip,
    decode,
    encode,
    intersections,
    pairwise_iou,
)

PLAIN = (1.0, 1.0, 1.0, 1.0)


def random_boxes(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 100
    return torch.cat((low, low + 1 + torch.rand(count, 2, generator=generator) * 80), dim=1)


def test_anchors_are_ordered_y_x_size_ratio_and_centred_on_the_stride() -> None:
    anchors = anchors_for((2, 3), 16, (32.0, 64.0), (0.5, 1.0, 2.0)).reshape(2, 3, 2, 3, 4)
    assert anchors[0, 0, 0, 1].tolist() == [-16, -16, 16, 16]
    assert anchors[0, 0, 1, 1].tolist() == [-32, -32, 32, 32]
    assert anchors[1, 2, 0, 1].tolist() == [16, 0, 48, 32]
    width, height = 32 * math.sqrt(2), 32 / math.sqrt(2)
    expected = [-width / 2, -height / 2, width / 2, height / 2]  # ratio 0.5: twice as wide as high
    assert anchors[0, 0, 0, 0].tolist() == pytest.approx(expected)


def test_known_deltas() -> None:
    box = torch.tensor([10.0, 20, 30, 60])  # centre 20, 40; 20 wide, 40 high
    moved = decode(box, torch.tensor([0.5, -0.25, math.log(2), 0.0]), PLAIN)
    assert moved.tolist() == pytest.approx([10, 10, 50, 50])


@pytest.mark.parametrize("weights", [PLAIN, (10.0, 10.0, 5.0, 5.0)], ids=["rpn", "box head"])
def test_decode_undoes_encode(weights: tuple[float, ...]) -> None:
    boxes, targets = random_boxes(0, 50), random_boxes(1, 50)
    found = decode(boxes, encode(boxes, targets, weights), weights)
    torch.testing.assert_close(found, targets, atol=1e-3, rtol=0)  # px; float32 log and exp


def test_a_wild_delta_is_clamped() -> None:
    found = decode(torch.tensor([0.0, 0, 16, 16]), torch.tensor([0.0, 0, 80, 80]), PLAIN)
    assert torch.isfinite(found).all()
    assert (found[2] - found[0]).item() == pytest.approx(16 * math.exp(MAX_LOG_SCALE))
    assert (found[2] - found[0]).item() == pytest.approx(1000)


def test_clip_uses_each_images_own_height_and_width() -> None:
    boxes = torch.tensor([[[-5.0, -5, 500, 500]], [[-5.0, 20, 30, 500]]])
    sizes = torch.tensor([[40, 60], [80, 25]], dtype=torch.int32)
    assert clip(boxes, sizes).tolist() == [[[0, 0, 60, 40]], [[0, 20, 25, 80]]]


def test_a_box_outside_is_clipped_to_nothing() -> None:
    found = clip(torch.tensor([[[70.0, 50, 90, 60]]]), torch.tensor([[40, 60]]))
    assert areas(found).tolist() == [[0]]


def test_overlaps_by_hand() -> None:
    first = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40]])
    second = torch.tensor([[5.0, 5, 15, 15], [10, 0, 20, 10], [20, 20, 30, 40]])
    assert areas(first).tolist() == [100, 200]
    assert intersections(first, second).tolist() == [[25, 0, 0], [0, 0, 200]]
    expected = torch.tensor([[25 / 175, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(pairwise_iou(first, second), expected)


def test_iou_of_empty_boxes_is_zero() -> None:
    assert pairwise_iou(torch.zeros(1, 4), torch.zeros(2, 4)).tolist() == [[0, 0]]


def test_intersections_take_leading_dimensions() -> None:
    first, second = random_boxes(2, 6).reshape(2, 3, 4), random_boxes(3, 8).reshape(2, 4, 4)
    found = intersections(first, second)
    assert found.shape == (2, 3, 4)
    torch.testing.assert_close(found[1], intersections(first[1], second[1]))
