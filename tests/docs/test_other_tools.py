"""The one-liners that hand results on, as the documentation has them, with the real libraries."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.results.instances import Instances
from maskrt.workflows.predicting.results_file import ResultsFile

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
HEAVY = "it brings what maskrt does not need; run by hand, in an environment of its own"

# what these libraries themselves warn of is theirs
pytestmark = pytest.mark.filterwarnings("ignore")


def line(start: str) -> str:
    found = re.search(rf"`({re.escape(start)}[^`]+)`", GUIDE.read_text(encoding="utf-8"))
    assert found, start
    return found[1]


def pair() -> Instances:
    return Instances(
        image_hw=(40, 60),
        boxes=np.array([[2, 3, 12, 23], [30.5, 5, 58, 35]], np.float32),
        scores=np.array([0.9, 0.4], np.float32),
        labels=np.array([1, 0], np.int32),
        mask_probs=np.stack((np.eye(4), np.ones((4, 4)))).astype(np.float32),
        class_names=("disc", "star"),
    )


def test_supervision_takes_instances() -> None:
    sv: Any = pytest.importorskip("supervision", reason=f"supervision is not installed: {HEAVY}")
    found = pair()
    taken = eval(line("sv.Detections("), {"sv": sv, "np": np, "found": found})
    stars = taken[taken.data["class_name"] == "star"]
    assert (len(taken), stars.class_id.tolist()) == (2, [1])
    assert np.array_equal(stars.mask, found.masks[:1])
    assert taken.area.tolist() == found.masks.sum(axis=(1, 2)).tolist()
    drawn = sv.MaskAnnotator().annotate(np.zeros((40, 60, 3), np.uint8), taken)
    assert drawn[20, 45].any()


def test_fiftyone_reads_the_results_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fiftyone", reason=f"FiftyOne is not installed: {HEAVY}")
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    found, results = pair(), "out/results.json"
    import cv2

    cv2.imwrite("photos/a.png", np.zeros((40, 60, 3), np.uint8))
    with ResultsFile(Path(results)) as file:
        image = {"file_name": "photos/a.png", "overlay": "a.png", "height": 40, "width": 60}
        file.add(image, found.to_coco(1))
        file.write([{"id": 1, "name": "disc"}, {"id": 2, "name": "star"}], ())
    names = eval(line("names = {").removeprefix("names = "), {"json": json, "results": results})
    asked = dict(re.findall(r"(data_path|labels_path)=(\w+)", line("fo.Dataset.from_dir(")))
    assert asked == {"data_path": "names", "labels_path": "results"}
    given = {"data_path": names, "labels_path": results, "label_types": "segmentations"}
    with COCODetectionDatasetImporter(**given) as reader:
        ((path, _, labels),) = list(reader)
    assert path == "photos/a.png"
    assert [one.label for one in labels.detections] == ["star", "disc"]
    assert [one.confidence for one in labels.detections] == pytest.approx([0.9, 0.4])
    assert [int(one.mask.sum()) for one in labels.detections] == [
        int(mask.sum()) for mask in found.masks
    ]
