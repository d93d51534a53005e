from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrt.runtime.errors import ContractError
from maskrt.runtime.results.instances import Instances
from maskrt.runtime.results.mask_upsampling import upsampled

HW = (40, 60)


@pytest.fixture
def pair() -> Instances:
    """A star in the upper left, a disc at the right that fills its box."""
    return Instances(
        image_hw=HW,
        boxes=np.array([[2, 3, 12, 23], [30.5, 5, 58, 35]], dtype=np.float32),
        scores=np.array([0.9, 0.4], dtype=np.float32),
        labels=np.array([1, 0], dtype=np.int32),
        mask_probs=np.stack((np.eye(4), np.ones((4, 4)))).astype(np.float32),
        class_names=("disc", "star"),
    )


def empty() -> Instances:
    return Instances(
        image_hw=HW,
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int32),
        mask_probs=np.zeros((0, 28, 28), np.float32),
        class_names=("disc",),
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_rles_are_the_masks(pair: Instances) -> None:
    assert pair.masks.shape == (2, *HW)
    decoded = np.stack([coco_mask.decode(rle) for rle in pair.rles()]).astype(bool)
    assert np.array_equal(decoded, pair.masks)
    assert pair.masks[0].sum() > 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_masks_are_upsampled_before_they_are_pasted() -> None:
    """Forty of them, so in several parts; single crops, all masks and all RLEs agree."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(-10, 40, (40, 2))
    sides = rng.uniform(5, 30, (40, 2))
    coarse = Instances(
        image_hw=HW,
        boxes=np.concatenate((corners, corners + sides), axis=1).astype(np.float32),
        scores=np.ones(40, np.float32),
        labels=np.zeros(40, np.int32),
        mask_probs=rng.random((40, 6, 6), dtype=np.float32),
        class_names=("disc",),
        mask_upsampling=4,
    )
    finer = dataclasses.replace(
        coarse, mask_probs=upsampled(coarse.mask_probs, 4), mask_upsampling=1
    )
    assert np.array_equal(coarse.masks, finer.masks)
    assert coarse.rles() == finer.rles()
    crop, (top, left) = coarse.mask_crop(17)
    whole = np.zeros(HW, bool)
    whole[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    assert np.array_equal(whole, coarse.masks[17])
    unsampled = dataclasses.replace(coarse, mask_upsampling=1)
    assert not np.array_equal(unsampled.masks, coarse.masks)


def test_masks_are_pasted_once(pair: Instances) -> None:
    assert pair.masks is pair.masks


def test_the_threshold_is_the_instances_own(pair: Instances) -> None:
    low = dataclasses.replace(pair, mask_threshold=0.2)
    assert low.masks.sum() > pair.masks.sum()


def test_masks_live_in_their_frames_and_boxes_can_be_their_own(pair: Instances) -> None:
    framed = dataclasses.replace(pair, boxes=np.ones((2, 4), np.float32), frames=pair.boxes)
    assert np.array_equal(framed.masks, pair.masks)
    assert framed.rles() == pair.rles()
    tight = framed.tightened()
    assert tight.boxes[1].tolist() == [30, 5, 58, 35]
    assert np.array_equal(tight.masks, pair.masks)
    hollow = dataclasses.replace(
        pair, mask_probs=pair.mask_probs * np.array([0, 1], np.float32)[:, None, None]
    )
    assert hollow.tightened().scores.tolist() == [np.float32(0.4)]


def test_another_threshold_is_pasted_anew(pair: Instances) -> None:
    pair.rles()
    low = dataclasses.replace(pair, mask_threshold=0.2)
    assert coco_mask.area(low.rles()[0]) == low.masks[0].sum() > pair.masks[0].sum()


def test_coco_rows(pair: Instances) -> None:
    rows = pair.to_coco(7, category_ids=[18, 44])
    assert [(row["image_id"], row["category_id"]) for row in rows] == [(7, 44), (7, 18)]
    assert rows[1]["bbox"] == [30.5, 5.0, 27.5, 30.0]
    assert rows[0]["score"] == pytest.approx(0.9, abs=1e-6)
    assert json.loads(json.dumps(rows)) == rows


def test_category_ids_default_to_one_based_labels(pair: Instances) -> None:
    assert [row["category_id"] for row in pair.to_coco(1)] == [2, 1]


def test_category_ids_must_be_one_per_class(pair: Instances) -> None:
    with pytest.raises(ContractError, match="3 category ids; the artefact has 2 classes"):
        pair.to_coco(1, category_ids=[1, 2, 3])


def test_above_keeps_what_scores_enough(pair: Instances) -> None:
    best = pair.above(0.5)
    assert len(pair) == 2
    assert len(best) == 1
    assert best.labels.tolist() == [1]
    assert np.array_equal(best.masks[0], pair.masks[0])


def test_zero_instances_go_through_everything() -> None:
    none = empty()
    image = np.zeros((*HW, 3), np.uint8)
    assert len(none) == 0
    assert none.masks.shape == (0, *HW)
    assert none.rles() == []
    assert none.to_coco(1) == []
    assert np.array_equal(none.draw(image), image)


def test_draw_marks_mask_and_box_and_leaves_the_picture_alone(pair: Instances) -> None:
    image = np.full((*HW, 3), 100, np.uint8)
    drawn = pair.draw(image, score_threshold=0.3)
    assert (image == 100).all()
    assert drawn.dtype == np.uint8
    changed = (drawn != image).any(axis=2)
    assert changed[pair.masks[1]].all()
    assert not changed[39, 0]
    assert tuple(drawn[20, 45]) != tuple(drawn[15, 4])  # two instances, two colours


def test_a_class_keeps_its_colour_whatever_its_rank(pair: Instances) -> None:
    image = np.full((*HW, 3), 100, np.uint8)
    alone = dataclasses.replace(pair, scores=np.array([0.1, 0.9], np.float32)).draw(image)
    both = pair.draw(image, score_threshold=0.3)
    assert tuple(alone[20, 45]) == tuple(both[20, 45]) != (100, 100, 100)
    other = dataclasses.replace(pair, labels=np.ones(2, np.int32)).draw(image, 0.3)
    assert tuple(other[20, 45]) != tuple(both[20, 45])


def test_draw_honours_the_score(pair: Instances) -> None:
    image = np.full((*HW, 3), 100, np.uint8)
    drawn = pair.draw(image, score_threshold=0.95)
    assert np.array_equal(drawn, image)


def test_draw_writes_names_inside_the_picture() -> None:
    whole = Instances(
        image_hw=HW,
        boxes=np.array([[0, 0, 60, 40]], np.float32),
        scores=np.array([1.0], np.float32),
        labels=np.array([0], np.int32),
        mask_probs=np.zeros((1, 4, 4), np.float32),
        class_names=("a name longer than the picture is wide",),
    )
    drawn = whole.draw(np.zeros((*HW, 3), np.uint8))
    assert (drawn[3:12] != 0).any()


def test_draw_refuses_another_picture(pair: Instances) -> None:
    with pytest.raises(ContractError, match=r"\(60, 40, 3\) uint8; the instances belong"):
        pair.draw(np.zeros((60, 40, 3), np.uint8))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("boxes", np.zeros((2, 5), np.float32), r"boxes are \(2, 5\) float32; expected \(2, 4\)"),
        ("boxes", np.zeros((2, 4)), r"boxes are \(2, 4\) float64"),
        ("scores", np.zeros(3, np.float32), r"scores are \(3,\) float32; expected \(2,\)"),
        ("labels", np.zeros(2, np.int64), "labels are .* int64; expected .* int32"),
        ("labels", np.array([0, 2], np.int32), r"labels span 0\.\.2; the artefact has 2 classes"),
        ("labels", np.array([-1, 0], np.int32), r"labels span -1\.\.0"),
        ("mask_probs", np.zeros((1, 4, 4), np.float32), r"mask_probs are \(1, 4, 4\)"),
        ("mask_probs", np.zeros((2, 4), np.float32), r"expected \(N, m, m\)"),
        ("mask_probs", np.zeros((2, 4, 4, 1), np.float32), r"mask_probs are \(2, 4, 4, 1\)"),
        ("scores", np.array([np.nan, 0], np.float32), "scores hold NaN"),
        ("boxes", np.full((2, 4), np.inf, np.float32), "boxes hold NaN or infinity"),
        ("frames", np.zeros((1, 4), np.float32), r"frames are \(1, 4\) float32; expected \(2, 4\)"),
        ("frames", np.full((2, 4), np.nan, np.float32), "frames hold NaN"),
        ("mask_upsampling", 0, "mask_upsampling is 0"),
        ("mask_threshold", 0.0, "mask_threshold is 0.0"),
        ("image_hw", (0, 5), r"image_hw is \(0, 5\)"),
    ],
)
def test_what_does_not_fit_is_named(
    pair: Instances, field: str, value: object, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        dataclasses.replace(pair, **{field: value})


def test_instances_are_frozen(pair: Instances) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.boxes = np.zeros((0, 4), np.float32)  # type: ignore[misc]
