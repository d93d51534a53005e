"""Data sets through the commands: what one verb refuses the others refuse too, before any work."""

import json
import re
import subprocess
import sys

import pytest

from maskrt.runtime.pictures.preprocess import read_image
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.weights.checkpoint import load_checkpoint, new_checkpoint
from maskrt.workflows import load, load_data

from ..conftest import NARROW, RECIPE

SQUARE = [10, 5, 30, 5, 30, 25, 10, 25]
BAD = {
    "NaN": ([[float("nan"), *SQUARE[1:]]], "segmentation[0] holds nan; expected pixels from"),
    "beyond": ([[1e9, 1e9, -1e9, 1e9, 1, 1]], "segmentation[0] holds 1000000000.0"),
    "a list of points": ([[[10, 5], [30, 5], [30, 25]]], "segmentation[0] is [[10, 5], [30, 5]"),
    "endless": ({"size": None, "counts": "zzzzzzzzzzzz"}, "counts is 'zzzzzzzzzzzz'"),
    "short runs": ({"size": None, "counts": [970, 28]}, "adds up to 998"),
}


@pytest.fixture
def data(tmp_path):
    return draw_shapes(tmp_path / "data", 3, 3, seed=5, progress=False)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "net.safetensors"
    new_checkpoint(load_recipe(RECIPE, list(NARROW)), path, None)
    return path


def change(data, split, edit):
    path = data / "annotations" / f"instances_{split}.json"
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))


def training(tmp_path, data):
    return "train", RECIPE, *NARROW, "--data", data, "--out", tmp_path / "run"


@pytest.mark.parametrize(("segmentation", "words"), BAD.values(), ids=BAD)
def test_eval_and_train_refuse_one_file_with_one_sentence(
    maskrt, tmp_path, data, checkpoint, segmentation, words
):
    def spoil(raw):
        if isinstance(segmentation, dict):
            first = {image["id"]: image for image in raw["images"]}[1]
            segmentation["size"] = [first["height"], first["width"]]
        raw["annotations"][0]["segmentation"] = segmentation

    change(data, "val", spoil)
    ran = [
        maskrt("eval", checkpoint, "--data", data),
        maskrt(*training(tmp_path, data)),
    ]
    assert [one.code for one in ran] == [2, 2]
    sentences = [one.err.splitlines()[-1].partition(": ")[2] for one in ran]
    assert sentences[0] == sentences[1]
    assert words in sentences[0]


def test_an_absent_training_picture_ends_the_run_before_its_first_step(maskrt, tmp_path, data):
    (data / "train" / "000003.jpg").unlink()
    ran = maskrt(*training(tmp_path, data))
    assert (ran.code, "no such picture (1 of the 3" in ran.err) == (2, True)
    assert not (tmp_path / "run" / "log.csv").exists()


def test_what_is_left_out_is_told_on_standard_error(data):
    change(data, "val", lambda raw: raw["annotations"][0].pop("segmentation"))
    code = "import sys; from maskrt.workflows import load_data; load_data(sys.argv[1])"
    words = [sys.executable, "-c", code, data]
    said = subprocess.run(words, check=True, capture_output=True, text=True)
    path = data / "annotations" / "instances_val.json"
    assert re.fullmatch(rf"{path}: 1 of \d+ objects have no mask: left out\.\n", said.stderr)
    assert said.stdout == ""


def test_the_first_pictures_are_those_of_smallest_id(data):
    change(data, "val", lambda raw: raw["images"].reverse())
    assert [image.image_id for image in load_data(data, first=2).images] == [1, 2]


def rename_classes(raw):
    """Ids with gaps, from 40 down, so that the last name is label 0."""
    for category in raw["categories"]:
        category.update(name=f"kind {category['id']}", id=44 - 4 * category["id"])
    for annotation in raw["annotations"]:
        annotation["category_id"] = 44 - 4 * annotation["category_id"]


def test_classes_and_their_ids_are_the_datas_from_training_to_results(maskrt, tmp_path, data):
    for split in ("train", "val"):
        change(data, split, rename_classes)
    ran = maskrt(*training(tmp_path, data), "detections.score_threshold=0", "--workers", 0)
    assert ran.code == 0, ran.err
    assert "COCO layout, 3 train, 3 val, 10 classes\n" in ran.err
    result = tmp_path / "run" / "model.safetensors"
    checkpoint = load_checkpoint(result)
    ids = tuple(range(4, 44, 4))
    assert checkpoint.recipe.class_names == tuple(f"kind {n}" for n in range(10, 0, -1))
    assert checkpoint.category_ids == ids
    onnx = tmp_path / "net.onnx"
    assert maskrt("export", result, "-o", onnx).code == 0
    assert maskrt("predict", onnx, data / "val", "--out", tmp_path / "out").code == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["categories"] == [
        {"id": i, "name": name} for i, name in zip(ids, checkpoint.recipe.class_names, strict=True)
    ]
    assert found["annotations"]
    assert {row["category_id"] for row in found["annotations"]} <= set(ids)
    with load(onnx) as predictor:
        (one,) = predictor.predict([read_image(data / "val" / "000001.jpg")])
    assert one.category_ids == ids
    assert {row["category_id"] for row in one.to_coco(1)} <= set(ids)

    again = maskrt(*training(tmp_path, data), "solver.steps=3", "--workers", 0, "--resume")
    assert again.code == 0, again.err
    assert load_checkpoint(result).category_ids == ids


def test_classes_that_are_named_keep_their_order_and_must_be_the_datas(maskrt, tmp_path, data):
    names = [f"kind {n}" for n in range(1, 11)]
    for split in ("train", "val"):
        change(data, split, rename_classes)
    words = training(tmp_path, data)
    ran = maskrt(*words, f"classes={','.join(names)}", "--workers", 0)
    assert ran.code == 0, ran.err
    checkpoint = load_checkpoint(tmp_path / "run" / "model.safetensors")
    assert checkpoint.recipe.class_names == tuple(names)
    assert checkpoint.category_ids == tuple(range(40, 0, -4))
    ran = maskrt(*words[:-1], tmp_path / "other", f"classes={','.join([*names[:-1], 'date'])}")
    assert ran.code == 2
    assert "only in the data: kind 10; only in the model: date. Leave classes away" in ran.err


def test_a_pair_is_named_whole_and_a_number_of_pictures_by_first(maskrt, data, checkpoint):
    file = data / "annotations" / "instances_val.json"
    pair = ("--images", data / "val", "--annotations", file)
    ran = maskrt("eval", checkpoint, *pair, "--val-share", 1, "--first", 2, "--json")
    assert ran.code == 0, ran.err
    assert "pair layout, 2 val, 10 classes; no val split, so names decide: all of" in ran.err
    wrong = {
        ("--images", 20): "--images 20: no --annotations found beside it; expected --images DIR and"
        " --annotations FILE. For a number of pictures use --first 20.",
        ("--val-images", data, "--val-annotations", file): "no --images found beside it; expected",
        (*pair, "--val-images", data): "no --val-annotations found beside it; expected",
        ("--annotations", file): ".json: no --images found beside it; expected",
        (*pair, "--data", data): f"--data {data}: --images found beside it; expected a folder",
        (): "no labelled pictures named; expected --data DIR",
        ("--data", file): "instances_val.json: a file; expected a labelled folder",
        ("--images", data, "--annotations", data / "none.json"): "none.json: no such file; expec",
        ("--data", data, "--val-share", 2): "--val-share 2: expected a share",
    }
    for words, sentence in wrong.items():
        ran = maskrt("eval", checkpoint, *words)
        assert (ran.code, sentence in ran.err) == (2, True), ran.err


def test_splits_of_different_classes_are_refused_before_any_step(maskrt, tmp_path, data):
    change(data, "val", lambda raw: raw["categories"].append({"id": 99, "name": "fig"}))
    ran = maskrt(*training(tmp_path, data))
    assert ran.code == 2
    assert "only in train: none; only in val: fig; expected one list for both" in ran.err
    assert not (tmp_path / "run").exists()
