"""Faster R-CNN from its recipe to a results file: C4 and pyramid, a torch session, no masks."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import new_checkpoint
from maskrt.workflows.prediction import predict_files

NARROW = (
    "model.mask=false",
    "input.short_side_px=96",
    "input.long_side_px=128",
    "input.canvas_hw=[96, 128]",
    "model.stem_channels=8",
    "model.backbone_channels=16",
    "model.blocks=[1, 1, 1, 1]",
    "proposals.post_nms_test=20",
    "detections.per_image=10",
)


@pytest.mark.parametrize(
    ("recipe", "more"),
    [("mask_rcnn_tiny", ()), ("mask_rcnn_fpn_tiny", ("model.fpn_channels=8",))],
)
def test_predictions_are_boxes(tmp_path: Path, recipe: str, more: tuple[str, ...]) -> None:
    checkpoint, picture = tmp_path / "faster.safetensors", tmp_path / "a.png"
    new_checkpoint(load_recipe(recipe, [*NARROW, *more]), checkpoint)
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    assert cv2.imwrite(str(picture), noise)
    predict_files(checkpoint, [picture], tmp_path / "out", 0.0)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = results["annotations"]
    assert len(rows) == 10  # an untrained network's scores are all above 0.05
    assert all("segmentation" not in row for row in rows)
    assert rows[0]["area"] == pytest.approx(rows[0]["bbox"][2] * rows[0]["bbox"][3])
    assert (tmp_path / "out" / "a.png").is_file()
