"""Untrained but lively networks: random weights, heads turned up so that detections appear."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import save_checkpoint

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

MakeCheckpoint = Callable[..., Path]


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
