"""The readers that are fuzzed: how to write a small whole input, and what maskrt does with it.

Each module a reader needs is imported when it is first asked for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .artefacts import READERS as ARTEFACTS
from .media import READERS as MEDIA
from .mutations import mutated_bytes, mutated_json
from .reader import Reader
from .training import READERS as TRAINING

SIZE_HW = (48, 64)
_SQUARE = [10, 5, 30, 5, 30, 25, 10, 25]


def coco_json() -> dict[str, Any]:
    """Two pictures, two categories; polygons, both forms of RLE, a crowd."""
    height, width = SIZE_HW
    runs = [height * 20 + 3, 30, height * width - height * 20 - 33]
    segmentations: list[Any] = [
        [_SQUARE],
        [_SQUARE, [40, 5, 50, 5, 45, 20]],
        {"size": [height, width], "counts": runs},
        {"size": [height, width], "counts": "Sn0n0b00mn1"},
    ]
    annotations = [
        {
            "id": number + 1,
            "image_id": 1 + number % 2,
            "category_id": 3 + 4 * (number // 2),
            "bbox": [10, 5, 20, 20],
            "area": 400,
            "iscrowd": int(number == 2),
            "segmentation": segmentation,
        }
        for number, segmentation in enumerate(segmentations)
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": height, "width": width} for i in (1, 2)
        ],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "square"}, {"id": 7, "name": "disc"}],
    }


def _write_coco(folder: Path) -> Path:
    """The same JSON and pictures as train and as val split."""
    import cv2
    import numpy as np

    for split in ("train", "val"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for name in ("1.png", "2.png"):
            cv2.imwrite(str(folder / split / name), np.full((*SIZE_HW, 3), 90, np.uint8))
    path = folder / "annotations" / "instances_val.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(coco_json()))
    return path


def _read_coco_eval(folder: Path) -> object:
    """Ground truth, and AP and AR of one prediction in each picture."""
    import numpy as np

    from ...eval import DataSource, Prediction, coco_ap, coco_ar, load_coco
    from ...runtime.results.rle import rle_from_crop

    data = load_coco(DataSource(folder, lenient=True))
    predictions = [
        Prediction(
            image_id=image.image_id,
            image_hw=image.image_hw,
            boxes=np.array([[10, 5, 30, 25]], np.float32),
            scores=np.array([0.9], np.float32),
            labels=np.zeros(1, np.int32),
            rles=(rle_from_crop(np.ones((1, 1), np.bool_), (0, 0), image.image_hw),),
        )
        for image in data.images
    ]
    return coco_ap(data, predictions), coco_ar(data, predictions)


def _check(folder: Path) -> object:
    """Every problem; the first that ends a run is raised as its sentence."""
    from ...eval.checks.data_check import check_data
    from ...eval.checks.size_tables import Ruler
    from ...eval.datasets.source import DataSource
    from ...runtime.errors import InputError

    ruler = Ruler("fuzz", (32.0, 64.0), 96, 128, 100)
    check = check_data(DataSource(folder), ruler, fix=True, tell=lambda done, text: None)
    for problem in check.problems:
        if problem.severity == "error":
            raise InputError(str(problem))
    return check.tables


def _read_coco_train(folder: Path) -> object:
    """One epoch of augmented batches."""
    from ...eval.datasets.source import DataSource
    from ...runtime.contract import ResizeRule
    from ...train.data.augment import Augmentation
    from ...train.data.batches import loader
    from ...train.data.dataset import CocoInstances

    dataset = CocoInstances(DataSource(folder, lenient=True), "val")
    augmentation = Augmentation(
        ResizeRule(0, 96), short_sides_px=(40, 72), scale_jitter=(0.1, 2.0), copy_paste=0.5
    )
    batches = loader(dataset, 2, seed=0, epoch=0, workers=0, augmentation=augmentation)
    return [batch.image_ids for batch in batches]


def _write_labelme(folder: Path) -> Path:
    """Two pictures with polygons, a circle, a group and a bitmap."""
    import base64

    import cv2
    import numpy as np

    stamp = cv2.imencode(".png", np.ones((6, 4), np.uint8))[1]
    corners = [[10, 5], [30, 5], [30, 25], [10, 25]]
    shapes = [
        {"label": "square", "points": corners, "group_id": 1, "shape_type": "polygon"},
        {
            "label": "square",
            "points": [[40, 5], [50, 20]],
            "group_id": 1,
            "shape_type": "rectangle",
        },
        {"label": "disc", "points": [[20, 20], [25, 20]], "shape_type": "circle"},
        {
            "label": "disc",
            "points": [[50, 4], [53, 9]],
            "shape_type": "mask",
            "mask": base64.b64encode(stamp.tobytes()).decode(),
        },
    ]
    for name in ("1", "2"):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((*SIZE_HW, 3), 90, np.uint8))
        raw = {"shapes": shapes, "imagePath": f"{name}.png"}
        size = {"imageHeight": SIZE_HW[0], "imageWidth": SIZE_HW[1]}
        (folder / f"{name}.json").write_text(json.dumps({**raw, **size}))
    return folder / "1.json"


def _write_yolo(folder: Path) -> Path:
    """Two pictures, polygons and a box."""
    import cv2
    import numpy as np

    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    for name in ("1", "2"):
        picture = np.full((*SIZE_HW, 3), 90, np.uint8)
        cv2.imwrite(str(folder / "images" / "val" / f"{name}.png"), picture)
    (folder / "data.yaml").write_text("train: images/val\nval: images/val\nnames: [disc, square]\n")
    path = folder / "labels" / "val" / "1.txt"
    path.write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.3 0.3 0.2 0.2\n1 0.6 0.6 0.9 0.6 0.7 0.8\n")
    return path


READERS = {
    "labelme": Reader(_write_labelme, _read_coco_eval, mutated_json),
    "yolo": Reader(_write_yolo, _read_coco_eval, mutated_bytes),
    "yolo-yaml": Reader(
        lambda folder: _write_yolo(folder).parents[2] / "data.yaml", _read_coco_eval, mutated_bytes
    ),
    "coco-eval": Reader(_write_coco, _read_coco_eval, mutated_json),
    "coco-check": Reader(_write_coco, _check, mutated_json),
    "labelme-check": Reader(_write_labelme, _check, mutated_json),
    "coco-train": Reader(_write_coco, _read_coco_train, mutated_json),
    **ARTEFACTS,
    **MEDIA,
    **TRAINING,
}
