"""Files of a small Detectron2 network: ResNet-50's blocks at a sixteenth of its width."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.detectron2.layout import detectron2_name

WIDTHS = (
    *("model.stem_channels=4", "model.backbone_channels=16", "model.mask_channels=4"),
    "classes=[cat, dog, cow]",
)
NARROW = """
MODEL:
  RESNETS: {STEM_OUT_CHANNELS: 4, RES2_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 4}
  ROI_MASK_HEAD: {CONV_DIM: 4}
"""

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def arrays() -> Callable[..., Arrays]:
    """`arrays("model.blocks=[...]")`: lively weights by Detectron2's names, three classes."""

    def make(*overrides: str) -> Arrays:
        torch.manual_seed(5)
        model = MaskRCNN(load_recipe("mask_rcnn_r50_c4", [*WIDTHS, *overrides]))
        torch.nn.init.normal_(model.box_predictor.cls_score.weight, std=0.05)
        return {detectron2_name(k): v.numpy() for k, v in model.state_dict().items()}

    return make


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Arrays], Path]:
    """Writes arrays as a zoo file."""

    def save(content: Arrays) -> Path:
        path = tmp_path / "model_final.pkl"
        path.write_bytes(pickle.dumps({"model": content, "__author__": "a stranger"}))
        return path

    return save


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """`config(text)`: a config of the small network, by way of a base, that says `text` too."""

    def write(text: str = "VERSION: 2\n") -> Path:
        (tmp_path / "narrow.yaml").write_text(NARROW)
        path = tmp_path / "config.yaml"
        path.write_text(f"_BASE_: narrow.yaml\n{text}")
        return path

    return write
