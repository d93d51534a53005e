import contextlib
import importlib
import io
import json

import numpy as np
import pytest

from maskrt.eval.coco.accuracy import AR_NAMES, NO_TRUTH
from maskrt.eval.coco.ar import RECALL_IOUS, coco_ar
from maskrt.eval.coco.data import load_coco
from maskrt.eval.coco.predictions import coco_rows
from maskrt.eval.coco.results import evaluator_of
from maskrt.eval.datasets.source import DataSource

FAR = (0, 0, 4, 4)  # a rectangle that touches no object


def test_the_truth_itself_is_recalled_wholly_whatever_the_classes(
    data, predict, truth_rows, capsys
):
    wrong_classes = [(i, 1 - c, x, y, w, h, s) for i, c, x, y, w, h, s in truth_rows]
    recall = coco_ar(data, predict(wrong_classes))
    for kind in ("box", "mask"):
        assert recall.average[kind] == pytest.approx(dict.fromkeys(AR_NAMES, 100.0))
        assert recall.curves[kind]["AR@10"] == pytest.approx([100.0] * 10)
    assert capsys.readouterr().out == ""


def test_nothing_found_is_zero(data, predict):
    recall = coco_ar(data, predict([]))
    assert recall.average["mask"] == dict.fromkeys(AR_NAMES, 0.0)
    assert recall.curves["box"]["AR@1000"] == [0.0] * 10


def test_a_hand_computed_example(data, predict):
    """Five objects: two small, two medium, one large.

    Picture 11: the small one is met exactly (10 of 10 thresholds), the medium one with IoU 2/3
    (0.50, 0.55, 0.60, 0.65: 4). Picture 12, behind false ones: the large one is met as number 13,
    the small one as number 151, the medium one never. Thresholds met, of 50:
    best 10: 10 + 4 = 14; best 100: 24; best 1000: 34.
    """
    rows = [
        (11, 0, 10, 10, 20, 20, 0.9),
        (11, 0, 70, 40, 50, 60, 0.8),  # a fifth of the width to the right: 0.8 / 1.2
        *((12, 0, *FAR, 0.9 - 0.001 * i) for i in range(12)),
        (12, 0, 20, 30, 120, 110, 0.7),
        *((12, 0, *FAR, 0.6 - 0.001 * i) for i in range(137)),
        (12, 0, 150, 60, 25, 30, 0.1),
    ]
    expected = {
        "AR@10": 28.0,
        "AR@100": 48.0,
        "AR@1000": 68.0,
        "ARs": 50.0,  # 10 of 20
        "ARm": 20.0,  # 4 of 20
        "ARl": 100.0,
    }
    recall = coco_ar(data, predict(rows))
    for kind in ("box", "mask"):
        assert recall.average[kind] == pytest.approx(expected)
        assert recall.curves[kind]["AR@10"] == pytest.approx([40.0] * 4 + [20.0] * 6)
        assert recall.curves[kind]["AR@1000"] == pytest.approx([80.0] * 4 + [60.0] * 6)
    assert RECALL_IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_one_proposal_serves_one_object(data, predict, folder):
    """Two objects at one place need two proposals."""
    path = folder / "annotations" / "instances_val.json"
    raw = json.loads(path.read_text())
    twice = [{**raw["annotations"][1], "id": 1}, {**raw["annotations"][1], "id": 2}]
    path.write_text(json.dumps({**raw, "annotations": twice}))
    data = load_coco(DataSource(folder, lenient=True))
    square = (11, 0, 60, 40, 50, 60, 0.9)
    assert coco_ar(data, predict([square])).average["mask"]["AR@10"] == pytest.approx(50.0)
    assert coco_ar(data, predict([square] * 2)).average["mask"]["AR@10"] == pytest.approx(100.0)


def test_crowd_regions_are_neither_missed_nor_found(folder, predict, truth_rows):
    path = folder / "annotations" / "instances_val.json"
    raw = json.loads(path.read_text())
    raw["annotations"][2]["iscrowd"] = 1  # the large one
    path.write_text(json.dumps(raw))
    data = load_coco(folder)
    for rows, found in ((truth_rows, 100.0), (truth_rows[:2], 50.0)):
        average = coco_ar(data, predict(rows)).average["box"]
        assert average["AR@100"] == pytest.approx(found)
        assert average["ARl"] == NO_TRUTH


def test_pictures_without_objects_have_no_recall(data, predict):
    recall = coco_ar(data, predict([(13, 0, *FAR, 0.5)], image_ids=(13,)))
    assert recall.average["box"] == dict.fromkeys(AR_NAMES, NO_TRUTH)
    assert recall.curves["box"] == {"AR@10": [], "AR@100": [], "AR@1000": []}


@pytest.mark.parametrize("at_once", [1, 2, 20])
def test_it_is_cocoevals_recall_on_random_proposals(data, predict, monkeypatch, at_once):
    """The same numbers as `accumulate` gives, however the pictures are split."""
    module = importlib.import_module("maskrt.eval.coco.ar")
    monkeypatch.setattr(module, "PICTURES_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    truth = [(11, 10, 10, 20, 20), (11, 60, 40, 50, 60), (12, 20, 30, 120, 110)]
    truth += [(12, 150, 60, 25, 30), (12, 180, 120, 50, 60)]
    rows = []
    for _ in range(400):
        image, x, y, w, h = truth[rng.integers(5)]
        dx, dy = rng.normal(0, 0.3, 2)
        sides = np.array((w, h)) * np.exp(rng.normal(0, 0.2, 2))
        box = (max(0, round(x + dx * w)), max(0, round(y + dy * h)), *sides.round().astype(int))
        rows.append((image, int(rng.integers(2)), *map(int, box), float(rng.random())))
    predictions = predict(rows)
    recall = coco_ar(data, predictions)
    for kind in ("box", "mask"):
        expected = accumulated(data, predictions, kind)  # (T, A, M)
        curves = [recall.curves[kind][name] for name in AR_NAMES[:3]]
        assert np.allclose(np.array(curves).T, 100 * expected[:, 0])
        sizes = [recall.average[kind][name] for name in AR_NAMES[3:]]
        assert np.allclose(sizes, 100 * expected[:, 1:, 1].mean(axis=0))
        assert 0 < recall.average[kind]["AR@10"] < recall.average[kind]["AR@100"]


def accumulated(data, predictions, kind):
    """COCOeval's own `eval["recall"]` over all pictures at once."""
    rows = coco_rows(predictions, (3, 3))
    evaluator = evaluator_of(data, rows, kind, [p.image_id for p in predictions])
    evaluator.params.useCats = 0
    evaluator.params.maxDets = [10, 100, 1000]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    assert np.allclose(evaluator.params.iouThrs, RECALL_IOUS)
    return evaluator.eval["recall"][:, 0]
