"""The fixpoint against greedy NMS written as what it is: a loop."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maskrt.train.nms import ROUNDS, fixpoint_nms, greedy_nms, suppression

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def overlap_above(boxes: Ints, tenths: int) -> Bools:
    """(K, K): IoU > tenths / 10, in whole numbers, so that nothing is rounded."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = (high - low).clip(0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = area[:, None] + area[None] - inter
    return np.asarray(10 * inter > tenths * union)


def sequential(boxes: Ints, tenths: int, labels: Ints, valid: Bools) -> Bools:
    """Take the best box left, drop what overlaps it, repeat."""
    rivals = overlap_above(boxes, tenths) & (labels[:, None] == labels[None])
    alive, kept = valid.copy(), np.zeros_like(valid)
    while alive.any():
        best = int(np.argmax(alive))
        kept[best] = True
        alive &= ~rivals[best]
        alive[best] = False
    return kept


def clustered(rng: np.random.Generator, count: int) -> Ints:
    """(count, 4) boxes around a few places, corners whole numbers below 300."""
    places = rng.integers(60, 200, (rng.integers(1, 9), 2))
    spread = rng.integers(1, 25)
    centers = places[rng.integers(len(places), size=count)] + rng.integers(
        -spread, spread + 1, (count, 2)
    )
    half = rng.integers(8, 35, (count, 2)) if rng.random() < 0.5 else np.full((count, 2), 30)
    return np.concatenate((centers - half, centers + half), axis=1)


def chain(links: int) -> torch.Tensor:
    """(1, links + 1, 4): each box overlaps the next with IoU 0.6 and the one after with 0.33."""
    left = 10.0 * torch.arange(links + 1)
    zero = torch.zeros_like(left)
    return torch.stack((left, zero, left + 40, zero + 10), dim=1)[None]


def everything(boxes: torch.Tensor) -> torch.Tensor:
    return torch.ones(boxes.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("tenths", [3, 5, 7])
@pytest.mark.parametrize("classes", [1, 3], ids=["one class", "three classes"])
def test_fixpoint_equals_the_loop_on_random_sets(tenths: int, classes: int) -> None:
    rng = np.random.default_rng([tenths, classes])
    suppressed = 0
    for _ in range(84):  # x 2 images x 6 cases: 1,008 sets
        count = int(rng.integers(1, 201))
        boxes = np.stack([clustered(rng, count) for _ in range(2)])
        labels = rng.integers(0, classes, (2, count))
        valid = rng.random((2, count)) < rng.choice([0.5, 1.0])
        matrix = suppression(
            torch.tensor(boxes, dtype=torch.float32),
            tenths / 10,
            torch.tensor(labels) if classes > 1 else None,
        )
        found = fixpoint_nms(matrix, torch.tensor(valid)).numpy()
        expected = np.stack(
            [sequential(*case) for case in zip(boxes, [tenths] * 2, labels, valid, strict=True)]
        )
        assert np.array_equal(found, expected)
        suppressed += int((valid & ~expected).sum())
    assert suppressed > 1000  # the sets are no walk-over


@pytest.mark.parametrize("tenths", [3, 5, 7])
def test_greedy_nms_equals_the_loop(tenths: int) -> None:
    rng = np.random.default_rng(tenths)
    for _ in range(40):
        boxes = clustered(rng, int(rng.integers(1, 201)))
        count = len(boxes)
        expected = sequential(boxes, tenths, np.zeros(count, np.int64), np.ones(count, np.bool_))
        found = greedy_nms(torch.tensor(boxes, dtype=torch.float32), tenths / 10)
        assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("links", range(ROUNDS + 1))
def test_chains_up_to_the_number_of_rounds_are_exact(links: int) -> None:
    boxes = chain(links)
    expected = [i % 2 == 0 for i in range(links + 1)]
    assert fixpoint_nms(suppression(boxes, 0.5), everything(boxes))[0].tolist() == expected
    assert greedy_nms(boxes[0], 0.5).tolist() == expected


def test_past_the_limit_even_rounds_keep_too_much_and_odd_ones_too_little() -> None:
    boxes = chain(ROUNDS + 8)
    matrix = suppression(boxes, 0.5)
    exact = greedy_nms(boxes[0], 0.5)
    assert exact.tolist() == [i % 2 == 0 for i in range(ROUNDS + 9)]
    assert ROUNDS % 2 == 0
    for rounds in range(ROUNDS + 8):
        found = fixpoint_nms(matrix, everything(boxes), rounds)[0]
        assert not torch.equal(found, exact)
        wider, narrower = (exact, found) if rounds % 2 else (found, exact)
        assert (wider | ~narrower).all()
    assert torch.equal(fixpoint_nms(matrix, everything(boxes), ROUNDS + 8)[0], exact)


def test_the_shortest_chain_past_the_limit_differs() -> None:
    boxes = chain(ROUNDS + 1)
    found = fixpoint_nms(suppression(boxes, 0.5), everything(boxes))[0]
    assert (found != greedy_nms(boxes[0], 0.5)).tolist() == [False] * (ROUNDS + 1) + [True]
    assert found[-1]


def test_overlap_of_exactly_the_threshold_suppresses_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 5]]])  # IoU 0.5
    assert fixpoint_nms(suppression(boxes, 0.5), everything(boxes)).all()
    assert fixpoint_nms(suppression(boxes, 0.49), everything(boxes)).tolist() == [[True, False]]


def test_invalid_boxes_suppress_nothing_and_are_not_kept() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10]] * 3])
    valid = torch.tensor([[False, True, True]])
    assert fixpoint_nms(suppression(boxes, 0.5), valid).tolist() == [[False, True, False]]


def test_empty_boxes_suppress_nothing() -> None:
    boxes = torch.zeros(1, 3, 4)
    assert fixpoint_nms(suppression(boxes, 0.5), everything(boxes)).all()


def test_no_boxes_are_kept_of_none() -> None:
    assert greedy_nms(torch.zeros(0, 4), 0.5).shape == (0,)
