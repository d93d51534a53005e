"""Mask R-CNN and Faster R-CNN on a pyramid, very small, exported and verified."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from maskrt.export.macs import graph_macs
from maskrt.export.to_onnx import export
from maskrt.train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import save_checkpoint

NARROW = (
    "model.stem_channels=8",
    "model.backbone_channels=16",
    "model.blocks=[1, 1, 1, 1]",
    "model.fpn_channels=16",
    "model.box_channels=32",
    "input.canvas_hw=[64, 96]",
    "input.short_side_px=64",
    "input.long_side_px=96",
    "proposals.pre_nms_test=30",
    "proposals.post_nms_test=20",
    "detections.candidates=40",
    "detections.per_image=10",
)
TORCHVISION = (
    *("model.roi_aligned=false", "model.level_rule=torchvision", "model.anchors_whole_px=true"),
    *("model.anchor_steps=picture", "proposals.min_size_px=0.001", "detections.min_size_px=0.01"),
)


def checkpoint(folder: Path, *overrides: str) -> Path:
    torch.manual_seed(0)
    model = MaskRCNNFPN(load_recipe("mask_rcnn_fpn_tiny", [*NARROW, *overrides]))
    with torch.no_grad():
        model.box_predictor.cls_score.weight.mul_(15)
        model.rpn.objectness_logits.weight.mul_(30)
    path = folder / "fpn.safetensors"
    save_checkpoint(path, model)
    return path


@pytest.mark.parametrize(
    ("overrides", "task", "outputs"),
    [
        (("model.sampling_ratio=0",), "instances", 5),
        (("model.mask=false", *TORCHVISION), "detection", 4),
    ],
    ids=["detectron2", "faster, torchvision"],
)
def test_both_tasks_export_in_every_precision(
    tmp_path: Path, overrides: tuple[str, ...], task: str, outputs: int
) -> None:
    picture = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 90, 3), dtype=np.uint8)
    assert cv2.imwrite(str(picture), noise)
    paths = {kind: tmp_path / f"{kind}.onnx" for kind in ("fp32", "fp16", "int8")}
    for report in export(checkpoint(tmp_path, *overrides), paths, calibration=[picture]):
        assert report.verification.asked >= 10
        assert report.contract.task == task
        assert len(report.contract.outputs) == outputs
        assert report.contract.operators == ("MaskrtPyramidRoiAlign",)
    assert graph_macs(onnx.load(paths["fp16"])).half_layer_share > 0.99
    half = onnx.load(paths["fp16"]).graph
    made = {name: node.op_type for node in half.node for name in node.output}
    pooled = {n.input[0] for n in half.node if n.op_type == "MaskrtPyramidRoiAlign"}
    # the atlas of all levels is put together in half, not cast to it
    assert {made[name] for name in pooled} == {"Concat"}
