"""Untrained but lively networks: random weights, heads turned up so that detections appear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from maskrt.export.to_onnx import ExportReport, export
from maskrt.train.deploy.deployment import Shapes
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import new_checkpoint, save_checkpoint

NARROW = (
    "model.stem_channels=8",
    "model.backbone_channels=16",
    "model.blocks=[1, 1, 1, 1]",
    "model.mask_channels=8",
    "model.subnet_mid_channels=8",
    "input.canvas_hw=[64, 96]",
    "input.short_side_px=64",
    "input.long_side_px=96",
    "proposals.pre_nms_test=60",
    "proposals.post_nms_test=20",
    "detections.candidates=40",
    "detections.per_image=10",
    "classes=[a, b, c]",
)

SMALL_FASTMASK = (
    "model.stem_channels=8",
    "model.body_channels=16",
    "model.reduced_channels=8",
    "model.score_channels=16",
    "model.score_hidden=16",
    "model.mask_rank=16",
    "input.canvas_hw=[128, 160]",
    "windows.per_image=60",
)
LSC = "lsc_mask_rcnn_r50_512"

MakeCheckpoint = Callable[..., Path]


@dataclass(frozen=True)
class Exported:
    """One network in FP32 and FP16; read the files, never change them."""

    checkpoint: Path
    shapes: Shapes
    fp32: ExportReport
    fp16: ExportReport


@pytest.fixture(scope="session")
def lively(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """`lively(recipe, *overrides)`: a checkpoint of a narrow network that detects something."""
    folder = tmp_path_factory.mktemp("lively")

    def make(recipe: str, *overrides: str) -> Path:
        torch.manual_seed(0)
        scale = 5.0 if "c4" in recipe or "model.pooling=14" in overrides else 15.0
        model = MaskRCNN(load_recipe(recipe, [*NARROW, *overrides]))
        with torch.no_grad():
            model.box_predictor.cls_score.weight.mul_(scale)
            model.rpn.objectness_logits.weight.mul_(30)
            model.mask_head.predictor.weight.mul_(300)
        path = folder / f"{len(list(folder.iterdir()))}.safetensors"
        save_checkpoint(path, model)
        return path

    return make


@pytest.fixture(scope="session")
def untrained_fastmask(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """`untrained_fastmask(*overrides)`: a checkpoint of a very small FastMask."""

    def make(*overrides: str) -> Path:
        path = tmp_path_factory.mktemp("fastmask") / "net.safetensors"
        new_checkpoint(load_recipe("fastmask_tiny", [*SMALL_FASTMASK, *overrides]), path)
        return path

    return make


@pytest.fixture(scope="session")
def baseline(lively: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """ResNet-50-C4, whose subnet the rule even_bins rewrites."""
    return exported(lively("mask_rcnn_r50_c4"), Shapes(), tmp_path_factory)


@pytest.fixture(scope="session")
def lsc(lively: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Framework 1 of the paper, two portrait pictures at a time."""
    checkpoint = lively(LSC, "model.separable_channels=16", "model.subnet_channels=32")
    shapes = Shapes((96, 64), batch=2, proposals=15, detections=7)
    return exported(checkpoint, shapes, tmp_path_factory)


@pytest.fixture(scope="session")
def fastmask(
    untrained_fastmask: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """FastMask with two streams, two pictures at a time."""
    return exported(untrained_fastmask(), Shapes(batch=2, proposals=30), tmp_path_factory)


def exported(
    checkpoint: Path, shapes: Shapes, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    paths = {"fp32": folder / "fp32.onnx", "fp16": folder / "fp16.onnx"}
    fp32, fp16 = export(checkpoint, paths, shapes=shapes)
    return Exported(checkpoint, shapes, fp32, fp16)
