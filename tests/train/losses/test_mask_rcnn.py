"""Matching and sampling by hand, targets by hand, and that the losses can be lowered."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from maskrt.train.data.target import Target
from maskrt.train.losses.mask_rcnn import (
    IGNORE,
    SampledRois,
    mask_rcnn_losses,
    mask_targets,
    match_anchors,
    rpn_losses,
    sample_rois,
)
from maskrt.train.networks.boxes import encode
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.mask_rcnn import DetectionConfig, MaskRCNNRecipe, ProposalConfig

MakeRecipe = Callable[..., MaskRCNNRecipe]
PROPOSALS = ProposalConfig()
TERMS = {"rpn_objectness", "rpn_box", "box_class", "box_delta", "mask"}
FAR = [500.0, 500, 540, 540]
BOX = [0.0, 0, 100, 100]


def target(
    boxes: list[list[float]] | None = None,
    labels: list[int] | None = None,
    crowds: list[list[float]] | None = None,
    size_hw: tuple[int, int] = (96, 96),
) -> Target:
    """Rectangles that fill their boxes."""
    corners = torch.tensor(boxes or []).reshape(-1, 4)
    masks = torch.zeros(len(corners), *size_hw, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, corners.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    classes = torch.tensor(labels or [0] * len(corners), dtype=torch.int64)
    return Target(corners, classes, masks, torch.tensor(crowds or []).reshape(-1, 4))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def matched(anchors: list[list[float]], truth: Target) -> tuple[list[int], list[int]]:
    labels, matches = match_anchors(torch.tensor(anchors), truth, PROPOSALS)
    return labels.tolist(), matches.tolist()


def test_iou_decides_anchor_labels() -> None:
    anchors = [BOX, [0.0, 0, 100, 70], [0.0, 0, 100, 50], [0.0, 0, 100, 30], [0.0, 0, 100, 29], FAR]
    labels, _ = matched(anchors, target([BOX]))  # IoU 1, 0.7, 0.5, 0.3, 0.29, 0
    assert labels == [1, 1, IGNORE, IGNORE, 0, 0]


def test_an_object_gets_its_best_anchors_whatever_their_overlap() -> None:
    small = [0.0, 0, 20, 100]  # IoU 0.2 with both halves' anchors
    labels, _ = matched([BOX, [0.0, 0, 100, 100], FAR], target([small]))
    assert labels == [1, 1, 0]


def test_an_object_that_touches_no_anchor_makes_no_positive() -> None:
    labels, _ = matched([BOX, BOX], target([FAR]))
    assert labels == [0, 0]


def test_an_anchor_is_matched_to_the_object_it_overlaps_most() -> None:
    right = [100.0, 0, 200, 100]
    _, matches = matched([[5.0, 0, 105, 100], [90.0, 0, 190, 100]], target([BOX, right]))
    assert matches == [0, 1]


def test_no_objects_make_all_anchors_negative() -> None:
    assert matched([BOX, FAR], target()) == ([0, 0], [0, 0])


def test_anchors_mostly_in_a_crowd_are_no_negatives_but_may_be_positives() -> None:
    crowd = [0.0, 0, 100, 60]
    anchors = [[0.0, 0, 100, 60], [0.0, 0, 10, 10], [0.0, 40, 100, 100], FAR]
    labels, _ = matched(anchors, target([crowd], crowds=[crowd]))
    assert labels == [1, IGNORE, 0, 0]  # of the third, 20 of 60 rows are inside


def test_rpn_losses_by_hand() -> None:
    anchors = torch.tensor([BOX, FAR, [600.0, 600, 640, 640]])
    truth = target([[0.0, 0, 100, 80]])
    config = dataclasses.replace(PROPOSALS, batch_per_image=4)
    logits = torch.tensor([[math.log(3), 0.0, 0.0], [0.0, 0.0, 0.0]])
    deltas = torch.zeros(2, 3, 4)
    deltas[0, 0] = encode(anchors[0], truth.boxes[0], (1.0, 1, 1, 1)) + torch.tensor(
        [0.5, 0, -1, 0]
    )
    terms = rpn_losses(logits, deltas, anchors, [truth, target()], config, seeded())
    # image 0: one positive at probability 3/4, two negatives at 1/2; image 1: three negatives
    assert terms["rpn_objectness"].item() == pytest.approx((math.log(4 / 3) + 5 * math.log(2)) / 8)
    assert terms["rpn_box"].item() == pytest.approx(1.5 / 8)


def many(count: int, box: list[float]) -> torch.Tensor:
    return torch.tensor([box]).repeat(count, 1)


def drawn(proposals: torch.Tensor, truth: Target, slots: int = 64) -> SampledRois:
    config = DetectionConfig(batch_per_image=slots, positive_fraction=0.25)
    return sample_rois(proposals, truth, 8, config, seeded())


def test_a_quarter_of_the_rois_is_positive_when_there_are_enough() -> None:
    sampled = drawn(torch.cat((many(100, BOX), many(100, FAR))), target([BOX], [3]))
    assert sampled.boxes.shape == (64, 4)
    assert sampled.labels.tolist() == [3] * 16 + [8] * 48


def test_negatives_fill_up_missing_positives() -> None:
    sampled = drawn(many(100, FAR), target([BOX], [3]))
    assert sampled.labels.tolist() == [3] + [8] * 63  # the object itself is a candidate
    assert sampled.boxes[0].tolist() == BOX


def test_too_few_candidates_are_padded() -> None:
    sampled = drawn(many(5, FAR), target())
    assert sampled.labels.tolist() == [8] * 5 + [IGNORE] * 59
    assert not sampled.boxes[5:].any()


def test_positives_never_exceed_their_share() -> None:
    sampled = drawn(many(100, BOX), target([BOX], [3]))
    assert sampled.labels.tolist() == [3] * 16 + [IGNORE] * 48


def test_roi_iou_of_one_half_is_positive() -> None:
    proposals = torch.tensor([[0.0, 0, 100, 50], [0.0, 0, 100, 49]])
    sampled = drawn(proposals, target([BOX], [3]), slots=8)
    rows = dict(zip(sampled.boxes[:, 3].tolist(), sampled.labels.tolist(), strict=True))
    assert (rows[50], rows[49]) == (3, 8)


def test_rois_mostly_in_a_crowd_are_not_used() -> None:
    sampled = drawn(torch.cat((many(10, BOX), many(3, FAR))), target(crowds=[BOX]))
    assert sampled.labels.tolist() == [8] * 3 + [IGNORE] * 61


def test_sampling_repeats_by_generator_state() -> None:
    proposals = torch.rand(200, 4).cumsum(dim=1) * 20
    config = DetectionConfig(batch_per_image=32)
    draws = [sample_rois(proposals, target([BOX]), 8, config, seeded(s)).boxes for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_mask_targets_are_the_objects_cut_out_by_the_rois() -> None:
    truth = target([[16.0, 0, 32, 32]], [2])
    sampled = SampledRois(
        boxes=torch.tensor([[0.0, 0, 32, 32], [16, 0, 32, 32], [0, 0, 32, 32], [40, 40, 60, 60]]),
        labels=torch.tensor([2, 2, 8, IGNORE]),
        matches=torch.zeros(4, dtype=torch.int64),
    )
    found = mask_targets([sampled], [truth], side=4, background=8)
    assert found[0].tolist() == [[0, 0, 1, 1]] * 4
    assert found[1].tolist() == [[1, 1, 1, 1]] * 4
    assert len(found) == 2


def test_mask_targets_follow_the_batch_order() -> None:
    left, right = target([[0.0, 0, 16, 32]]), target([[16.0, 0, 32, 32]])
    roi = SampledRois(torch.tensor([[0.0, 0, 32, 32]]), torch.tensor([0]), torch.tensor([0]))
    found = mask_targets([roi, roi], [left, right], side=2, background=8)
    assert found.tolist() == [[[1, 0], [1, 0]], [[0, 1], [0, 1]]]


@pytest.fixture
def model(tiny: MakeRecipe) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(tiny()).train()


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey canvases with a bright block at (24..56, 32..80) px (y, x)."""
    images = torch.full((count, 96, 96, 3), 90, dtype=torch.uint8)
    images[:, 24:56, 32:80] = torch.tensor([250, 60, 20], dtype=torch.uint8)
    return images, torch.full((count, 2), 96, dtype=torch.int32)


BLOCK = [32.0, 24, 80, 56]


@pytest.mark.parametrize(
    "truths",
    [
        [target(), target()],
        [target([BLOCK], [1]), target()],
        [target(crowds=[[0.0, 0, 96, 96]])] * 2,
        [target([BLOCK], [1], crowds=[[0.0, 0, 96, 96]]), target()],
    ],
    ids=["no objects", "one empty picture", "nothing but a crowd", "an object in a crowd"],
)
def test_losses_and_gradients_are_finite(model: MaskRCNN, truths: list[Target]) -> None:
    terms = mask_rcnn_losses(model, *pictures(2), truths, seeded())
    assert set(terms) == TERMS
    assert all(torch.isfinite(value) and value >= 0 for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None  # DDP waits for every one
        assert torch.isfinite(parameter.grad).all()


def test_without_objects_there_is_nothing_to_regress(model: MaskRCNN) -> None:
    terms = mask_rcnn_losses(model, *pictures(1), [target()], seeded())
    assert [terms[name].item() for name in ("rpn_box", "box_delta", "mask")] == [0, 0, 0]
    assert terms["rpn_objectness"] > 0
    assert terms["box_class"] > 0


def test_equal_generator_states_give_equal_losses(model: MaskRCNN) -> None:
    truths = [target([BLOCK], [1])]
    first, second = (mask_rcnn_losses(model, *pictures(1), truths, seeded()) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in TERMS)


def test_a_few_steps_on_one_picture_lower_every_loss(model: MaskRCNN) -> None:
    truths = [target([BLOCK], [1])]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = []
    for step in range(40):
        terms = mask_rcnn_losses(model, *pictures(1), truths, seeded(step))
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        history.append({name: value.item() for name, value in terms.items()})
    before = {name: sum(h[name] for h in history[:3]) / 3 for name in TERMS}
    after = {name: sum(h[name] for h in history[-3:]) / 3 for name in TERMS}
    assert sum(after.values()) < 0.5 * sum(before.values())
    for name in TERMS - {"box_delta"}:  # grows at first: more and more proposals are positive
        assert after[name] < before[name], name
