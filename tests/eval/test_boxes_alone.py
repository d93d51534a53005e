"""A model without a mask branch: box AP alone, in tables, gates and pictures."""

import dataclasses

import numpy as np
import pytest

from maskrt.eval.coco.accuracy import AP_NAMES, metric_of
from maskrt.eval.coco.ap import coco_ap
from maskrt.eval.coco.predictions import coco_rows
from maskrt.eval.parity.comparison import compare
from maskrt.eval.parity.hops import hop_between, measure
from maskrt.eval.report.accuracy_tables import accuracy_table, hop_table
from maskrt.eval.report.pictures import example_pictures
from maskrt.runtime.errors import ContractError, InputError


@pytest.fixture
def detecting(scripted):
    """The scripted predictor without its masks."""
    predictor = scripted()
    session = predictor.session
    outputs = tuple(o for o in session.contract.outputs if o.name != "masks")
    with_masks = session.run
    whole = session.contract

    def run(images, image_sizes):
        session.contract = whole
        found = with_masks(images, image_sizes)
        session.contract = dataclasses.replace(whole, task="detection", outputs=outputs)
        return {name: value for name, value in found.items() if name != "masks"}

    session.contract = dataclasses.replace(whole, task="detection", outputs=outputs)
    session.run = run
    return predictor


@pytest.fixture
def artefact(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"abc")
    return path


def without_masks(predictions):
    return [dataclasses.replace(p, rles=None) for p in predictions]


def test_box_ap_is_what_it_is_with_masks(predict, truth_rows, data):
    found = predict(truth_rows[:3])
    with_masks, alone = coco_ap(data, found), coco_ap(data, without_masks(found))
    assert alone.average == {"box": with_masks.average["box"]}
    assert alone.matches.keys() == {"box"}
    assert all("segmentation" not in row for row in coco_rows(without_masks(found), [3, 7]))


def test_boxes_are_measured_by_precision_and_shown_in_one_row(detecting, data, artefact):
    accuracy = measure(detecting, artefact, data).accuracy
    assert (accuracy.metric, metric_of("detection")) == ("AP", "AP")
    assert (tuple(accuracy.box), accuracy.mask) == (AP_NAMES, {})
    assert accuracy.measured == {"box_ap": accuracy.box["AP"]}
    assert [row[2] for row in accuracy_table([accuracy]).rows] == ["box"]


def test_a_hop_has_a_gate_on_boxes_and_none_on_masks(detecting, data, artefact):
    first = measure(detecting, artefact, data)
    hop = hop_between(first, dataclasses.replace(first), "fp32")
    assert hop.failures == ()
    assert hop.parity.changes == {"box AP": 0.0}
    assert (hop.parity.pairs, hop.parity.matched) == (3, 1.0)
    cells = dict(zip(hop_table([hop]).columns, hop_table([hop]).rows[0], strict=True))
    assert (cells["ΔAP mask"], cells["IoU"]) == ("n/a", "n/a")


def test_a_moved_box_fails_it(predict, truth_rows):
    moved = [(i, c, x + 8, y, w, h, s) for i, c, x, y, w, h, s in truth_rows]
    parity = compare(without_masks(predict(truth_rows)), without_masks(predict(moved)))
    assert parity.matched == 0.0


def test_a_model_with_masks_is_no_reference(detecting, scripted, predict, data, artefact):
    pair = measure(scripted(), artefact, data), measure(detecting, artefact, data)
    with pytest.raises(
        InputError, match=r"gives detections, a\.onnx instances; only two models of"
    ):
        hop_between(*pair, "fp32")
    with pytest.raises(InputError, match="one model gives masks and the other boxes alone"):
        compare(predict([]), without_masks(predict([])))


def test_pictures_show_boxes(predict, truth_rows, data):
    whole = predict(truth_rows)
    (alone, *_) = example_pictures(data, without_masks(whole), data.class_names)
    (masked, *_) = example_pictures(data, whole, data.class_names)
    assert alone.views[1] == masked.views[1]
    boxes, masks = (picture.views[0].overlays for picture in (alone, masked))
    assert [one.box for one in boxes] == [one.box for one in masks] != []
    assert not any(one.outline for one in boxes)
    assert all(one.outline for one in masks)


def test_instances_without_masks_draw_and_say_so(detecting):
    picture = np.zeros((200, 240, 3), np.uint8)
    (found,) = detecting.predict([picture])
    assert found.mask_probs is None
    assert "segmentation" not in found.to_coco(1)[0]
    assert found.draw(picture).any()
    assert len(found.above(0.9)) == 0
    for ask in (found.rles, lambda: found.masks, lambda: found.suppressed(0.5)):
        with pytest.raises(ContractError, match="no masks, for the network gives boxes alone"):
            ask()
