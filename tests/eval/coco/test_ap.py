import dataclasses
import json

import pytest

from maskrt.eval.coco.accuracy import AP_NAMES, NO_TRUTH
from maskrt.eval.coco.ap import coco_ap
from maskrt.eval.coco.data import load_coco
from maskrt.runtime.errors import InputError


def test_the_truth_itself_has_ap_100_in_every_size(data, predict, truth_rows, capsys):
    ap = coco_ap(data, predict(truth_rows)).average
    for kind in ("box", "mask"):
        assert ap[kind] == pytest.approx(dict.fromkeys(AP_NAMES, 100.0))
    assert capsys.readouterr().out == ""


def test_nothing_found_is_zero(data, predict):
    ap = coco_ap(data, predict([])).average
    assert ap["box"] == dict.fromkeys(AP_NAMES, 0.0)
    assert ap["mask"] == dict.fromkeys(AP_NAMES, 0.0)


def test_a_shift_that_leaves_iou_two_thirds_passes_four_of_ten_thresholds(
    data, predict, truth_rows
):
    # a rectangle moved by a fifth of its width has IoU 0.8 / 1.2 = 0.667: 0.50, 0.55, 0.60, 0.65
    shifted = [(i, c, x + w / 5, y, w, h, s) for i, c, x, y, w, h, s in truth_rows]
    ap = coco_ap(data, predict(shifted)).average
    for kind in ("box", "mask"):
        assert ap[kind]["AP"] == pytest.approx(40.0)
        assert ap[kind]["AP50"] == pytest.approx(100.0)
        assert ap[kind]["AP75"] == pytest.approx(0.0)


def test_a_class_given_wrongly_costs_that_class(data, predict, truth_rows):
    # every disc called square: discs 0, and the squares are ranked among false ones
    wrong = [(i, 0, x, y, w, h, s) for i, _, x, y, w, h, s in truth_rows]
    ap = coco_ap(data, predict(wrong)).average
    assert 0.0 < ap["box"]["AP"] < 50.0


def test_swapped_names_are_mapped_by_name(data, predict, truth_rows):
    swapped = [(i, 1 - c, x, y, w, h, s) for i, c, x, y, w, h, s in truth_rows]
    ap = coco_ap(data, predict(swapped), class_names=("disc & <ring>", "square")).average
    assert ap["box"]["AP"] == pytest.approx(100.0)


def test_only_predicted_pictures_are_evaluated(data, predict, truth_rows):
    rows = [row for row in truth_rows if row[0] == 11]
    ap = coco_ap(data, predict(rows, image_ids=(11,))).average
    assert ap["box"]["AP"] == pytest.approx(100.0)
    assert ap["box"]["APl"] == NO_TRUTH


def test_masks_are_sized_by_mask_area_not_by_box_area(folder, predict):
    """Thin diagonal bands: 480 px² in boxes of 14880 px². A false one in another picture counts
    against APs only where it is classed by its mask; classed by its box it would be ignored."""
    path = folder / "annotations" / "instances_val.json"
    raw = json.loads(path.read_text())
    band = {
        "id": 1,
        "image_id": 11,
        "category_id": 3,
        "bbox": [10, 10, 124, 120],
        "area": 480,
        "iscrowd": 0,
        "segmentation": [[10, 10, 14, 10, 134, 130, 130, 130]],
    }
    path.write_text(json.dumps({**raw, "annotations": [band]}))
    data = load_coco(folder)
    rle = data.truth.annToRLE(data.truth.loadAnns([1])[0])
    rows = [(11, 0, 10, 10, 124, 120, 0.8), (12, 0, 10, 10, 124, 120, 0.9)]
    found = [
        dataclasses.replace(prediction, rles=(rle,) * len(prediction))
        for prediction in predict(rows)
    ]
    assert coco_ap(data, found).average["mask"]["APs"] == pytest.approx(50.0, abs=1.0)


def test_other_class_names_are_refused(data, predict):
    with pytest.raises(InputError, match="only in the model: dog"):
        coco_ap(data, predict([]), class_names=("dog",))
