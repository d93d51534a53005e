from __future__ import annotations

import numpy as np
import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.results.instances import Instances
from maskrt.runtime.results.mask_nms import kept_by_mask_nms, mask_areas

HW = (60, 80)


def many(count: int, seed: int, classes: int = 1) -> Instances:
    """Discs around five places, so that most are near duplicates; scores with ties, in no order."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(15, 50, (5, 2))[rng.integers(5, size=count)]
    centres += rng.normal(0, 3, (count, 2))
    sides = rng.uniform(8, 30, (count, 2))
    y, x = (np.mgrid[:14, :14] + 0.5) / 14 - 0.5
    disc = 1 / (1 + np.exp(-20 * (0.45 - np.hypot(x, y))))
    return Instances(
        image_hw=HW,
        boxes=np.concatenate((centres - sides / 2, centres + sides / 2), axis=1).astype(np.float32),
        scores=(rng.integers(1, 50, count) / 50).astype(np.float32),
        labels=rng.integers(classes, size=count).astype(np.int32),
        mask_probs=np.repeat(disc[None].astype(np.float32), count, axis=0),
        class_names=tuple("abc"[:classes]),
    )


def slow_nms(instances: Instances, limit: float) -> list[int]:
    """Greedy suppression as a plain loop over full masks."""
    kept: list[int] = []
    for index in sorted(range(len(instances)), key=lambda i: -float(instances.scores[i])):
        mine = instances.masks[index]
        for other in kept:
            theirs = instances.masks[other]
            same = instances.labels[index] == instances.labels[other]
            shared, union = int((mine & theirs).sum()), int((mine | theirs).sum())
            if same and union and shared / union > limit:
                break
        else:
            kept.append(index)
    return sorted(kept)


@pytest.mark.parametrize("limit", [0.05, 0.3, 0.5, 0.75, 0.95, 1.0])
@pytest.mark.parametrize("classes", [1, 3])
def test_it_is_greedy_suppression(limit: float, classes: int) -> None:
    instances = many(120, seed=round(100 * limit), classes=classes)
    kept = kept_by_mask_nms(instances.rles(), instances.scores, instances.labels, limit)
    assert kept.tolist() == slow_nms(instances, limit)
    assert (len(kept) < 120) == (limit < 0.9)


def test_suppressed_keeps_the_rest_of_each_instance() -> None:
    instances = many(300, seed=7)  # over 255, where pycocotools' area fails on a list
    kept = slow_nms(instances, 0.5)
    found = instances.suppressed(0.5)
    assert 3 < len(found) < 100
    assert np.array_equal(found.boxes, instances.boxes[kept])
    assert np.array_equal(found.scores, instances.scores[kept])
    assert np.array_equal(found.masks, instances.masks[kept])
    assert found.rles() == [instances.rles()[index] for index in kept]


def test_an_iou_of_exactly_the_limit_is_kept() -> None:
    """Rectangles of 4 and of 2 of the same 4 columns: IoU 1/2."""
    boxes = np.array([[10, 10, 14, 20], [10, 10, 12, 20]], np.float32)
    two = Instances(
        image_hw=HW,
        boxes=boxes,
        scores=np.array([0.5, 0.9], np.float32),
        labels=np.zeros(2, np.int32),
        mask_probs=np.ones((2, 80, 80), np.float32),
        class_names=("a",),
    )
    assert two.masks.sum(axis=(1, 2)).tolist() == [40, 20]
    assert len(two.suppressed(0.5)) == 2
    assert two.suppressed(0.49).scores.tolist() == [np.float32(0.9)]


def test_empty_masks_suppress_nothing() -> None:
    instances = many(4, seed=0)
    hollow = Instances(
        image_hw=HW,
        boxes=instances.boxes,
        scores=instances.scores,
        labels=instances.labels,
        mask_probs=np.zeros_like(instances.mask_probs),
        class_names=("a",),
    )
    assert len(hollow.suppressed(0.5)) == 4
    assert mask_areas(hollow.rles()).tolist() == [0, 0, 0, 0]


def test_no_instances_stay_none() -> None:
    assert len(many(0, seed=0).suppressed(0.5)) == 0


@pytest.mark.parametrize("limit", [0.0, 1.01, float("nan")])
def test_a_limit_out_of_range_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="expected above 0 and at most 1"):
        many(3, seed=0).suppressed(limit)
