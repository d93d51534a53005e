"""`maskrt predict --tiles`: rows in the picture's own pixels, and what is refused."""

import json

import cv2
import numpy as np


def test_rows_are_in_the_pictures_pixels(write_onnx, tiny_contract, tmp_path, maskrt):
    model = write_onnx(tiny_contract.to_json())
    picture, out = tmp_path / "large.png", tmp_path / "out"
    cv2.imwrite(str(picture), np.full((200, 300, 3), 200, np.uint8))
    ran = maskrt("predict", model, picture, "--out", out, "--tiles", 100)
    assert ran.code == 0, ran
    results = json.loads((out / "results.json").read_text())
    assert [0, 0, 300, 200] in [row["bbox"] for row in results["annotations"]]
    assert all(row["segmentation"]["size"] == [200, 300] for row in results["annotations"])


def test_tiles_that_cannot_be_are_refused(write_onnx, tiny_contract, tmp_path, maskrt):
    model = write_onnx(tiny_contract.to_json())
    picture, out = tmp_path / "large.png", tmp_path / "out"
    cv2.imwrite(str(picture), np.full((200, 300, 3), 200, np.uint8))
    for words, sentence in (
        (("--tiles", 8), "tiles of 8 px found"),
        (("--tile-overlap", 8), "without tiles found"),
        (("--tiles", 100, "--shard", "1/2"), "--tiles found beside --shard"),
    ):
        ran = maskrt("predict", model, picture, "--out", out, *words)
        assert ran.code == 2, ran
        assert sentence in ran.err
        assert not out.exists()
