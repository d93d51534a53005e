"""The drawn field of many small objects, and the AP that its measurement takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskrt.eval.coco.data import load_coco
from maskrt.eval.coco.predictions import Prediction
from maskrt.tools.tiles.__main__ import mask_ap, peak_bytes
from maskrt.tools.tiles.field import draw_field


def test_a_field_holds_an_object_in_each_cell_and_its_truth_has_ap_100(tmp_path: Path) -> None:
    draw_field(tmp_path, (500, 720), (3, 5))
    data = load_coco(tmp_path)
    objects = list(data.truth.anns.values())
    corners = np.array([one["bbox"][:2] for one in objects]) // (720 // 5, 500 // 3)
    assert len({tuple(corner) for corner in corners.astype(int).tolist()}) == 15
    boxes = np.array([one["bbox"] for one in objects], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    found = Prediction(
        image_id=1,
        image_hw=(500, 720),
        boxes=boxes,
        scores=np.linspace(0.9, 0.5, 15, dtype=np.float32),
        labels=np.array([data.label_of(one["category_id"]) for one in objects], np.int32),
        rles=tuple(one["segmentation"] for one in objects),
    )
    assert mask_ap(data, found) == 100.0


def test_peak_memory_is_that_of_this_process() -> None:
    held = np.ones(30_000_000, np.uint8)
    assert peak_bytes() > held.nbytes
