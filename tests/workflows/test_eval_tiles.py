"""`maskrt eval --tiles`: the accuracy of what `predict --tiles` finds."""

import json

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.ap import coco_ap
from maskrt.eval.coco.data import load_coco
from maskrt.eval.coco.predictions import prediction_from_instances
from maskrt.runtime.pictures.preprocess import read_image
from maskrt.runtime.tiles.predictor import in_tiles
from maskrt.workflows.open import load

HW = (200, 300)


@pytest.fixture
def folder(tiny_contract, tmp_path):
    """A picture with a disc where the network sees one in a tile of it, and a star all over."""
    boxes = [(50, 50, 50, 50), (0, 0, 300, 200)]
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": number,
            "bbox": [x, y, w, h],
            "area": w * h,
            "iscrowd": 0,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for number, (x, y, w, h) in enumerate(boxes, 1)
    ]
    names = enumerate(tiny_contract.class_names, 1)
    raw = {
        "images": [{"id": 1, "file_name": "1.png", "height": HW[0], "width": HW[1]}],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in names],
    }
    for name in ("annotations", "val"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data" / "annotations" / "instances_val.json").write_text(json.dumps(raw))
    cv2.imwrite(str(tmp_path / "data" / "val" / "1.png"), np.full((*HW, 3), 200, np.uint8))
    return tmp_path / "data"


def test_accuracy_in_tiles_is_of_what_tiles_find(write_onnx, tiny_contract, folder, maskrt):
    model = write_onnx(tiny_contract.to_json())
    whole = maskrt("eval", model, "--data", folder, "--json")
    tiles = maskrt("eval", model, "--data", folder, "--tiles", 100, "--tile-overlap", 0, "--json")
    assert (whole.code, tiles.code) == (0, 0), tiles.err
    data = load_coco(folder)
    with load(model) as opened:
        image = read_image(folder / "val" / "1.png")
        (found,) = in_tiles(opened, 100, 0).predict(image)
    expected = coco_ap(data, [prediction_from_instances(1, found)]).average["box"]
    assert tiles.json["box"] == pytest.approx(expected)
    assert tiles.json["box"]["AP50"] > whole.json["box"]["AP50"]
    assert "onnxruntime-cpu, tiles of 100 px" in tiles.out
    same = ("--tiles", 100, "--against", model, "--json")
    against = maskrt("eval", model, "--data", folder, *same)
    assert against.code == 0
    assert against.json["parity"]["matched"] == 1.0


def test_tiles_that_cannot_be_are_refused(write_onnx, tiny_contract, folder, maskrt, tmp_path):
    model = write_onnx(tiny_contract.to_json())
    for words, sentence in (
        (("--tiles", 8), "tiles of 8 px found"),
        (("--tile-overlap", 8), "without tiles found"),
        (
            ("--tiles", 100, "--shard", "1/2", "--out", tmp_path / "o"),
            "--tiles found beside --shard",
        ),
    ):
        ran = maskrt("eval", model, "--data", folder, *words)
        assert ran.code == 2, ran
        assert sentence in ran.err
