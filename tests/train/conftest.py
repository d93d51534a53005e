"""A network and a data set small enough for two busy cores."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from maskrt.train.recipe import MaskRCNNRecipe, load_recipe
from maskrt.train.shapes import draw_shapes

NARROW = (
    "input.short_side_px=64",
    "input.long_side_px=96",
    "input.train_short_sides_px=[56, 64]",
    "input.canvas_hw=[96, 96]",
    "model.stem_channels=8",
    "model.backbone_channels=16",
    "model.blocks=[1, 1, 1, 1]",
    "model.separable_channels=8",
    "model.subnet_mid_channels=8",
    "model.subnet_channels=16",
    "model.mask_channels=8",
    "model.anchor_sizes_px=[8.0, 16.0, 32.0, 48.0, 64.0]",
    "proposals.pre_nms_test=500",
    "proposals.post_nms_test=40",
    "detections.candidates=300",
    "detections.per_image=20",
    "solver.batch=2",
    "solver.lr=0.02",
    "solver.precision=fp32",
    "solver.warmup_steps=2",
    "solver.warmup_factor=0.5",
)

MakeRecipe = Callable[..., MaskRCNNRecipe]


@pytest.fixture(scope="session")
def tiny() -> MakeRecipe:
    """`tiny("solver.lr=1.0", ...)`: the shipped tiny recipe, narrower still."""
    return lambda *overrides: load_recipe("lsc_mask_rcnn_tiny", [*NARROW, *overrides])


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training and 2 val pictures."""
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", 12, 2, seed=3, progress=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and without them sums have one order: torch
    adds up gathered gradients atomically.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
