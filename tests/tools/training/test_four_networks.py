"""The four networks' record: each has its costs, its row of the bench and its trained twin."""

import json
from pathlib import Path

import pytest

from maskrt.tools.training import four_networks
from maskrt.workflows import draw_data, new_checkpoint


@pytest.mark.slow
def test_each_network_has_costs_latency_and_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("input.canvas_hw=[64,64]", "proposals.pre_nms_test=20", "proposals.post_nms_test=10")
    monkeypatch.setattr(four_networks, "CANVAS", small[0])
    monkeypatch.setattr(four_networks, "FULL", {"Mask R-CNN C4": "mask_rcnn_tiny"})
    for run in four_networks.TINY.values():
        recipe = "lsc_mask_rcnn_tiny" if run == "framework2_tiny" else run
        folder = tmp_path / f"run-{run}"
        folder.mkdir()
        new_checkpoint(recipe, folder / four_networks.RESULT, small)
    data = draw_data(tmp_path / "val", images=1, val_images=1)
    out = tmp_path / "record.json"
    words = ["--runs", str(tmp_path), "--data", str(data), "--samples", "2", "--out", str(out)]
    assert four_networks.main(words) == 0
    record = json.loads(out.read_text())
    assert list(record["tiny"]) == ["Mask R-CNN C4", "framework 1", "framework 2", "Mask R-CNN FPN"]
    assert all(row["accuracy"]["val"]["box"]["AP"] >= 0 for row in record["tiny"].values())
    names = [row["name"] for row in record["latency"]["backends"]]
    assert names == [f"{cost['recipe']}.onnx" for cost in record["costs"].values()]
    assert all(cost["parameters"] and cost["macs"] for cost in record["costs"].values())
