"""LVIS's federated AP by hand: which classes count in which pictures, and what is no mistake."""

import dataclasses
import json

import pytest

from maskrt.eval.coco.ap import coco_ap
from maskrt.eval.coco.data import load_coco
from maskrt.eval.matching import evaluators
from maskrt.eval.matching.lvis import MOST_DETECTIONS, lvis_ap
from maskrt.eval.parity.hops import measure
from maskrt.eval.report.accuracy_tables import accuracy_tables
from maskrt.runtime.errors import InputError

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")


@pytest.fixture
def lvis(folder):
    """The drawn data as LVIS's file: 3 'square' is rare, 7 'disc & <ring>' frequent.

    Picture 13, empty, was searched for squares alone; in 12 not all discs were drawn.
    """

    def load(change=lambda raw: None):
        path = folder / "annotations" / "instances_val.json"
        raw = json.loads(path.read_text())
        for image in raw["images"]:
            name = image.pop("file_name")
            image["coco_url"] = f"http://images.cocodataset.org/val/{name}"
            image["neg_category_ids"] = [3] if image["id"] == 13 else []
            image["not_exhaustive_category_ids"] = [7] if image["id"] == 12 else []
        for category, frequency in zip(raw["categories"], "fr", strict=True):
            category["frequency"] = frequency
        change(raw)
        path.write_text(json.dumps(raw))
        return load_coco(folder)

    return load


def with_mistakes(truth_rows):
    """The truth, and before it a disc in picture 13 and one in 12, where there are none."""
    return [*truth_rows, (13, 1, 5, 5, 40, 40, 0.99), (12, 1, 5, 150, 30, 30, 0.98)]


def test_what_was_not_looked_for_is_no_mistake(lvis, predict, truth_rows):
    data, found = lvis(), predict(with_mistakes(truth_rows))
    assert coco_ap(data, found).average["box"]["AP"] < 90
    for values in lvis_ap(data, found).values():
        assert values["AP"] == values["APr"] == values["APf"] == pytest.approx(100)
        assert values["APc"] == -1


def test_where_it_was_looked_for_it_is_one(lvis, predict, truth_rows):
    def searched(raw):
        raw["images"][2]["neg_category_ids"] = [3, 7]

    values = lvis_ap(lvis(searched), predict(with_mistakes(truth_rows)))["mask"]
    # the first of four: precision 1/2, 2/3, 3/4 at recall 1/3, 2/3, 1 is 3/4 at every recall
    assert values["APf"] == pytest.approx(75)
    assert values["APr"] == pytest.approx(100)
    assert values["AP"] == pytest.approx(87.5)


def test_a_picture_in_which_nothing_counts_is_none_to_fail_on(lvis, predict):
    assert lvis_ap(lvis(), predict([(13, 1, 5, 5, 40, 40, 0.9)]))["mask"]["AP"] == 0


def test_the_best_detections_of_a_picture_are_looked_at(lvis, predict, truth_rows):
    data = lvis()
    best = [(11, 0, 200, 150, 10, 10, 0.99) for _ in range(MOST_DETECTIONS)]
    values = lvis_ap(data, predict([*truth_rows, *best]))["box"]
    assert values["APf"] < 100  # its disc of picture 11 comes behind them
    assert lvis_ap(data, predict([*truth_rows, *best[2:]]))["box"]["APf"] == pytest.approx(100)


def test_other_annotations_are_refused(data, lvis, predict, truth_rows, monkeypatch):
    found = predict(truth_rows)
    with pytest.raises(InputError, match="'square' has no frequency of r, c or f; expected LVIS's"):
        lvis_ap(data, found)

    def spoilt(raw):
        raw["images"][1]["neg_category_ids"] = 5

    known = lvis(spoilt)
    with pytest.raises(InputError, match="picture 12 has no list of ids in neg_category_ids"):
        lvis_ap(known, found)
    monkeypatch.setattr(evaluators, "faster", lambda: None)
    with pytest.raises(InputError, match=r"LVIS AP: faster-coco-eval 1\.8\.x is not installed"):
        lvis_ap(known, found)


def test_it_stands_in_a_table_of_its_own(lvis, scripted, tmp_path):
    data = lvis()
    (tmp_path / "a.onnx").write_bytes(b"")
    found = measure(scripted(), tmp_path / "a.onnx", data)
    assert len(accuracy_tables([found.accuracy])) == 1
    values = lvis_ap(data, found.predictions)
    _, table = accuracy_tables([dataclasses.replace(found.accuracy, lvis=values)])
    assert table.columns[-3:] == ("APr", "APc", "APf")
    assert [row[2] for row in table.rows] == ["box", "mask"]
