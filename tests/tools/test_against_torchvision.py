"""How instances of two sides are compared, and what the records say of torchvision's detectors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maskrt
from maskrt.tools.counterparts import against_torchvision
from maskrt.tools.counterparts.instances import IOU, SCORE, Instances, agreement, matches, stored
from maskrt.tools.counterparts.torchvision_speed import EAGER, ITS_ONNX, summary

RECORDS = Path(maskrt.__path__[0]) / "eval" / "records"


def some(count: int = 4, side: int = 28) -> Instances:
    """Boxes apart from each other, with masks of their left half."""
    low = np.arange(count)[:, None] * np.array([[100.0, 50.0]])
    masks = np.zeros((count, side, side))
    masks[:, :, : side // 2] = 0.9
    return Instances(
        np.concatenate([low, low + 40], axis=1).astype(np.float32),
        np.linspace(0.9, 0.3, count).astype(np.float32),
        np.arange(count) % 3,
        masks.astype(np.float32),
    )


def changed(**by: Any) -> Instances:
    """`some`, in the second instance one thing otherwise."""
    whole = some()
    for name, value in by.items():
        array = getattr(whole, name)
        array[1] = array[1] + value
    return whole


def test_an_instance_is_found_with_the_differences_of_its_pair() -> None:
    rows = matches(some(), changed(scores=SCORE / 2, boxes=0.25))
    np.testing.assert_array_equal(rows[:, 0], 1)
    np.testing.assert_allclose(rows[1], [1, SCORE / 2, 0.25], rtol=1e-3)
    np.testing.assert_array_equal(rows[[0, 2, 3], 1:], 0)


@pytest.mark.parametrize(
    "by",
    [
        {"labels": 1},
        {"scores": 2 * SCORE},
        {"boxes": np.float32([0, 0, 0, 40 / IOU - 39.9])},  # just too high
        {"masks": -0.9 * (np.arange(28) < 2)},  # 2 of 14 columns less
    ],
)
def test_an_instance_that_differs_is_not_found(by: dict[str, Any]) -> None:
    both = agreement([(some(), changed(**by))])
    assert (both.instances, both.found, both.back) == (4, 0.75, 0.75)


def test_no_instance_is_found_twice() -> None:
    one, twice = some(1), some(1)
    pairs = [(one, one), (Instances(*(np.repeat(a, 2, 0) for a in vars(twice).values())), one)]
    assert agreement(pairs).found == pytest.approx(2 / 3)
    assert agreement(pairs).back == 1.0


def test_without_masks_boxes_alone_are_compared() -> None:
    bare = Instances(*list(vars(some()).values())[:3], np.zeros((4, 0, 0), np.float32))
    assert agreement([(bare, bare)]).found == 1.0


def test_torchvision_s_labels_begin_with_the_background(tmp_path: Path) -> None:
    whole = some()
    named = {
        "boxes_0": whole.boxes,
        "scores_0": whole.scores,
        "labels_0": whole.labels + 1,
        "masks_0": whole.masks[:, None],
    }
    np.savez(tmp_path / "found.npz", allow_pickle=False, **named)
    assert agreement([(whole, stored(tmp_path / "found.npz", 1)[0])]).found == 1.0


def test_ratios_are_of_torchvision_s_time_over_each() -> None:
    times = {EAGER: [6.0] * 10, ITS_ONNX: [4.0] * 10, "here": [2.0] * 10}
    faster = summary(times)["faster"]["here"]
    assert {name: ratio["value"] for name, ratio in faster.items()} == {EAGER: 3.0, ITS_ONNX: 2.0}
    assert faster[EAGER]["low"] == 3.0


def test_the_record_says_that_torchvision_s_instances_are_found() -> None:
    """Both versions, two seeds, ten pictures of five shapes; rounding costs as much."""
    record = json.loads((RECORDS / "torchvision_cpu.json").read_text(encoding="utf-8"))
    rows = record["rows"]
    networks = [(row["network"], row["seed"]) for row in rows]
    assert networks == [(name, seed) for name in against_torchvision.NETWORKS for seed in (0, 1)]
    assert record["pictures"] == 2 * len(against_torchvision.SHAPES) == 10
    for row in rows:
        assert min(row["here"]["found"], row["here"]["back"]) >= 0.995
        assert row["here"]["score"] <= SCORE
        assert row["ulp"]["found"] >= 0.995
        assert row["here"]["instances"] >= 300
        assert min(row["of_class"]) > 10
        assert sum(count > 0 for count in row["of_level"]) >= 3


def test_the_record_says_how_much_faster_the_same_weights_are() -> None:
    record = json.loads((RECORDS / "torchvision_speed_cpu.json").read_text(encoding="utf-8"))
    assert len(record["same"]) == 2  # what computes in FP32
    for same in record["same"].values():
        assert same["instances"] >= 50
        assert same["found"] == same["back"] == 1.0
    faster = record["faster"]
    assert faster["maskrt, ONNX Runtime FP32"][EAGER]["value"] >= 1.4
    assert faster["maskrt, ONNX Runtime FP32"][ITS_ONNX]["value"] >= 1.6
    assert faster["maskrt, OpenVINO BF16"][EAGER]["value"] >= 3.5
