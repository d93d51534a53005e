"""A large drawn picture of many small objects, as COCO data of one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...runtime.results.masks import foreground_box
from ...runtime.results.rle import rle_from_crop
from ...train.shapes.outlines import CLASS_NAMES, OUTLINES
from ...train.shapes.scenes import (
    GROUND_DEPTH,
    colours,
    lit,
    paint,
    silhouette,
    texture,
)

NAME = "field.png"
SIDES_PX = (16, 80)
"""Of objects; the longest, turned and stretched, and its shadow stay within a cell."""
SHADOW_PX = 16


def draw_field(
    folder: Path, image_hw: tuple[int, int], grid: tuple[int, int], seed: int = 0
) -> None:
    """Write `val/field.png` and its annotations: an object in each cell of a grid of rows, columns.

    They do not touch, so that what is counted is size and number, not occlusion.
    """
    rng = np.random.default_rng(seed)
    ground = colours(rng, saturation=0.55, depth=GROUND_DEPTH)
    image = texture(rng, image_hw, ground, (8.0, 80.0))
    annotations = []
    cell_hw = image_hw[0] // grid[0], image_hw[1] // grid[1]
    for number in range(grid[0] * grid[1]):
        label = int(rng.integers(len(CLASS_NAMES)))
        alpha = silhouette(rng, OUTLINES[CLASS_NAMES[label]], float(rng.uniform(*SIDES_PX)))
        room = np.array(cell_hw) - alpha.shape - 2 * SHADOW_PX
        row, column = np.array(divmod(number, grid[1])) * cell_hw + rng.integers(0, room)
        window = image[row:, column:][: cell_hw[0], : cell_hw[1]]
        owner = np.zeros(window.shape[:2], np.uint8)
        inside = (SHADOW_PX, SHADOW_PX)
        mean = ground.mean(axis=0)
        paint(rng, window, owner, alpha, corner=inside, number=1, ground=mean)
        corner = int(row), int(column)
        annotations.append(_annotation(number + 1, label, owner > 0, corner, image_hw))
    (folder / "val").mkdir(parents=True)
    (folder / "annotations").mkdir()
    cv2.imwrite(str(folder / "val" / NAME), cv2.cvtColor(lit(rng, image), cv2.COLOR_RGB2BGR))
    text = json.dumps(_coco(annotations, image_hw))
    (folder / "annotations" / "instances_val.json").write_text(text)


def _annotation(
    number: int,
    label: int,
    mask: np.ndarray[Any, np.dtype[np.bool_]],
    corner: tuple[int, int],
    image_hw: tuple[int, int],
) -> dict[str, Any]:
    x0, y0, x1, y1 = foreground_box(mask, corner)
    return {
        "id": number,
        "image_id": 1,
        "category_id": label + 1,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": rle_from_crop(mask, corner, image_hw),
    }


def _coco(annotations: list[dict[str, Any]], image_hw: tuple[int, int]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": NAME, "height": image_hw[0], "width": image_hw[1]}],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)],
    }
