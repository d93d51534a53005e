"""Fourteen pictures, labelled so that the tiny artefact finds some of their objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrt.runtime.contract import Contract

from ...runtime.conftest import tiny_contract, write_onnx

__all__ = ["tiny_contract", "write_onnx"]

PICTURES = 14


@pytest.fixture
def tiny(write_onnx: Callable[[str | None], Path], tiny_contract: Contract) -> Path:
    """It gives a star over the whole picture and a disc over its lower right quarter, both with the
    peak pixel / 255 for a score."""
    return write_onnx(tiny_contract.to_json())


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """The stars are as long as found or shorter, the discs a little elsewhere, some are crowds."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "labelled"
    (folder / "val").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for number in range(1, PICTURES + 1):
        height, width = (int(side) for side in rng.integers(60, 140, 2))
        picture = np.full((height, width, 3), rng.integers(60, 256), np.uint8)
        assert cv2.imwrite(str(folder / "val" / f"{number:02}.png"), picture)
        images.append(
            {"id": number, "file_name": f"{number:02}.png", "height": height, "width": width}
        )
        star = (0, 0, int(width * rng.uniform(0.6, 1)), height)
        disc = (int(width * rng.uniform(0.4, 0.6)), height // 2, width // 3, height // 3)
        for category, (x, y, w, h) in ((2, star), (1, disc)):
            if rng.random() < 0.2:
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "star"}]
    (folder / "annotations" / "instances_val.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder
