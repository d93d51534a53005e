"""faster-coco-eval against pycocotools, which is the oracle: the same matches, the same numbers."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.ap import boundary_ap, match_instances, precision_of
from maskrt.eval.coco.ar import coco_ar, match_proposals
from maskrt.eval.coco.data import load_coco
from maskrt.eval.matching import evaluators
from maskrt.eval.parity.hops import measure
from maskrt.eval.report.accuracy_tables import accuracy_table
from maskrt.runtime.errors import InputError

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")

IMAGE_IDS = (11, 12, 13)


@pytest.fixture
def crowded(folder):
    """The drawn data with its largest object a crowd region."""
    path = folder / "annotations" / "instances_val.json"
    raw = json.loads(path.read_text())
    raw["annotations"][2]["iscrowd"] = 1
    path.write_text(json.dumps(raw))
    return load_coco(folder)


@pytest.fixture
def found(predict, truth_rows):
    """300 rectangles around the objects, many of equal score."""
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(300):
        image, label, x, y, w, h, _ = truth_rows[rng.integers(len(truth_rows))]
        dx, dy = rng.normal(0, 0.15, 2)
        label = label if rng.random() < 0.8 else 1 - label
        box = (max(0, round(x + dx * w)), max(0, round(y + dy * h)), w, h)
        rows.append((image, label, *box, round(float(rng.random()), 2)))
    return predict(rows)


@pytest.fixture
def by_both(monkeypatch):
    """What a function gives by faster-coco-eval, and by pycocotools."""

    def call(function):
        assert evaluators.evaluator_name() == "faster-coco-eval"
        fast = function()
        with monkeypatch.context() as patch:
            patch.setattr(evaluators, "faster", lambda: None)
            assert evaluators.evaluator_name() == "pycocotools"
            return fast, function()

    return call


def assert_same_tables(fast, oracle):
    def key(table):
        return table.category, table.area, table.image_id

    for kind in ("box", "mask"):
        pairs = list(zip(sorted(fast[kind], key=key), sorted(oracle[kind], key=key), strict=True))
        assert len(pairs) > 3
        for one, other in pairs:
            for field in dataclasses.fields(one):
                assert np.array_equal(getattr(one, field.name), getattr(other, field.name))


def test_instances_match_alike_and_give_equal_averages(crowded, found, by_both, capsys):
    fast, oracle = by_both(lambda: match_instances(crowded, found))
    assert_same_tables(fast, oracle)
    one, other = by_both(lambda: precision_of(crowded, IMAGE_IDS, fast).average)
    assert 0 < one["mask"]["AP"] < 100
    for kind in ("box", "mask"):
        assert one[kind] == pytest.approx(other[kind], abs=1e-12)
    assert capsys.readouterr().out == ""


def test_proposals_match_alike(crowded, found, by_both):
    assert_same_tables(*by_both(lambda: match_proposals(crowded, found)))
    fast, oracle = by_both(lambda: coco_ar(crowded, found).average)
    assert fast == oracle


def test_nothing_found_is_zero_by_both(data, predict, by_both):
    nothing = predict([])
    fast, oracle = by_both(
        lambda: precision_of(data, IMAGE_IDS, match_instances(data, nothing)).average
    )
    assert fast == oracle


def test_the_table_says_which_one(data, scripted, folder, by_both):
    with scripted() as predictor:
        fast, oracle = by_both(lambda: measure(predictor, folder / "val" / "11.png", data).accuracy)
    assert "COCO AP, 0-100, faster-coco-eval, 3 pictures" in accuracy_table([fast]).notes[0]
    assert "COCO AP, 0-100, pycocotools, 3 pictures" in accuracy_table([oracle]).notes[0]


def test_a_version_that_is_not_known_is_left_alone(monkeypatch):
    import faster_coco_eval

    monkeypatch.setattr(faster_coco_eval, "__version__", "2.0.0")
    assert evaluators.evaluator_name() == "pycocotools"


def test_boundary_ap_is_that_of_the_smaller_iou(data, predict, truth_rows, monkeypatch):
    """Each object shifted by 2 px; the boundary as its paper defines it, by OpenCV's erosion."""
    shifted = [(i, c, x + 2, y, w, h, 0.9) for i, c, x, y, w, h, _ in truth_rows]
    expected = []  # by class, then object: the share of thresholds that its IoU reaches
    for label in (0, 1):
        ious = [boundary_iou(row, 2) for row in truth_rows if row[1] == label]
        expected.append(np.mean([np.mean(np.array(ious) >= t) for t in np.arange(0.5, 1, 0.05)]))
    found = boundary_ap(data, predict(shifted))
    assert found["AP"] == pytest.approx(100 * np.mean(expected), abs=1.0)
    assert found["AP"] < match_ap(data, predict(shifted))
    assert boundary_ap(data, predict(truth_rows))["AP"] == pytest.approx(100.0)
    monkeypatch.setattr(evaluators, "faster", lambda: None)
    with pytest.raises(InputError, match="boundary AP: faster-coco-eval"):
        boundary_ap(data, predict(shifted))


def match_ap(data, found):
    return precision_of(data, IMAGE_IDS, match_instances(data, found)).average["mask"]["AP"]


def boundary_iou(row, shift):
    _, _, x, y, w, h, _ = row
    height, width = 200, 240
    sides = []
    for left in (x, x + shift):
        mask = np.zeros((height + 2, width + 2), np.uint8)
        mask[y + 1 : y + h + 1, left + 1 : left + w + 1][:, : width - left] = 1
        depth = max(1, round(0.02 * np.hypot(height, width)))
        inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=depth)
        sides.append((mask - inner) > 0)
    return (sides[0] & sides[1]).sum() / (sides[0] | sides[1]).sum()
