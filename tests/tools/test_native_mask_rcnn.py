"""A canvas changes what Mask R-CNN finds unless its layers and RoIAlign see where pictures end."""

import json
from pathlib import Path

import numpy as np

import maskrt
from maskrt.tools.native_mask_rcnn import VARIANTS, compare
from maskrt.train.shapes.scenes import draw_scene
from maskrt.train.weights.checkpoint import load_checkpoint

ROOT = Path(maskrt.__path__[0])


def test_repeating_the_last_cells_is_the_network_at_the_pictures_own_size() -> None:
    checkpoint = load_checkpoint(ROOT / "train" / "checkpoints" / "lsc_mask_rcnn_tiny.safetensors")
    rows = {
        row.variant: row
        for row in compare(checkpoint, [draw_scene(np.random.default_rng(1)).image])
    }
    assert [*rows] == [*VARIANTS]
    plain, best = rows["plain"], rows["edges repeated"]
    assert plain.instances == best.instances > 5
    assert best.matched == 1
    assert best.box_px < 0.01 < plain.box_px
    assert best.mask < 1e-3


def test_the_record_says_so_of_twenty_pictures() -> None:
    text = (ROOT / "eval" / "records" / "mask_rcnn_native_cpu.json").read_text(encoding="utf-8")
    rows = {row["variant"]: row for row in json.loads(text)["rows"]}
    assert rows["edges repeated"]["matched"] == 1
    assert rows["edges repeated"]["box_px"] < 1e-3
    for other in VARIANTS[:-1]:
        assert rows[other]["matched"] < 1
        assert rows[other]["box_px"] > 0.1
