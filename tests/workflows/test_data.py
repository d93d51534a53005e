"""Data sets through the commands: what one verb refuses the others refuse too, before any work."""

import json
import re
import subprocess
import sys

import pytest

from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.weights.checkpoint import new_checkpoint
from maskrt.workflows import load_data

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
