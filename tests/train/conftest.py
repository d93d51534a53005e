"""A network and a data set small enough for two busy cores."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from maskrt.train.networks.fastmask import FastMask
from maskrt.train.recipes.fastmask import FastMaskRecipe
from maskrt.train.recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from maskrt.train.recipes.recipe import MaskRCNNRecipe, load_recipe
from maskrt.train.shapes.drawing import draw_shapes

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

NARROW_WINDOWS = (
    "input.long_side_px=96",
    "input.train_long_side_px=[88, 96]",
    "input.canvas_hw=[96, 96]",
    "model.stem_channels=8",
    "model.body_channels=16",
    "model.blocks=[1, 1, 1]",
    "model.train_strides=[16.0, 32.0]",
    "model.test_strides=[16.0, 32.0, 64.0]",
    "model.reduced_channels=8",
    "model.score_channels=16",
    "model.score_hidden=16",
    "model.mask_rank=16",
    "model.mask_cells=10",
    "windows.objectness_batch=8",
    "windows.mask_batch=4",
    "windows.per_image=12",
    "solver.batch=2",
    "solver.lr=0.02",
    "solver.precision=fp32",
    "solver.warmup_steps=2",
)

SMALL_WINDOWS = (
    "input.canvas_hw=[96, 132]",
    "model.stem_channels=8",
    "model.body_channels=16",
    "model.reduced_channels=6",
    "model.score_channels=12",
    "model.score_hidden=10",
    "model.mask_rank=9",
    "model.mask_cells=8",
)

NARROW_PYRAMID = (
    "input.short_side_px=64",
    "input.long_side_px=96",
    "input.train_short_sides_px=[56, 64]",
    "input.canvas_hw=[96, 128]",
    "model.stem_channels=8",
    "model.backbone_channels=16",
    "model.blocks=[1, 1, 1, 1]",
    "model.fpn_channels=8",
    "model.box_channels=24",
    "model.mask_channels=8",
    "model.canonical_px=32.0",
    "model.anchor_sizes_px=[8.0, 16.0, 32.0, 48.0, 64.0]",
    "proposals.pre_nms_test=30",
    "proposals.post_nms_test=80",
    "detections.candidates=300",
    "detections.per_image=20",
    "solver.batch=2",
    "solver.lr=0.02",
    "solver.precision=fp32",
    "solver.warmup_steps=2",
    "solver.warmup_factor=0.5",
)

MakeRecipe = Callable[..., MaskRCNNRecipe]
MakePyramid = Callable[..., MaskRCNNFPNRecipe]
MakeProposer = Callable[..., FastMaskRecipe]


@pytest.fixture(scope="session")
def tiny() -> MakeRecipe:
    """`tiny("solver.lr=1.0", ...)`: the shipped tiny recipe, narrower still."""
    return lambda *overrides: load_recipe("lsc_mask_rcnn_tiny", [*NARROW, *overrides])


@pytest.fixture(scope="session")
def pyramid() -> MakePyramid:
    """`pyramid("model.mask=false", ...)`: the shipped tiny recipe with FPN, narrower still."""
    return lambda *overrides: load_recipe("mask_rcnn_fpn_tiny", [*NARROW_PYRAMID, *overrides])


@pytest.fixture(scope="session")
def proposer() -> MakeProposer:
    """`proposer("fastmask_tiny", "solver.lr=1.0", ...)`: a shipped tiny recipe, narrower still."""
    return lambda name, *overrides: load_recipe(name, [*NARROW_WINDOWS, *overrides])


@pytest.fixture(scope="session")
def fastmask_network() -> Callable[..., FastMask]:
    """`fastmask_network("model.body=vgg", ...)`: in evaluation, all eight levels, random norms."""
    return _fastmask_network


def _fastmask_network(*overrides: str) -> FastMask:
    """Random, so that nothing cancels by chance."""
    torch.manual_seed(0)
    recipe = load_recipe("fastmask_tiny", [*SMALL_WINDOWS, *overrides])
    assert isinstance(recipe, FastMaskRecipe)
    model = FastMask(recipe).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif name.endswith("running_mean") or name == "norm.bias":
                value.normal_(std=0.3, generator=generator)
        model.norm.weight.uniform_(0.5, 2, generator=generator)
        if model.head.attention is not None:
            model.head.attention.weight.normal_(std=0.05, generator=generator)
        model.head.mask_shift.normal_(std=0.2, generator=generator)
        model.head.mask_2.weight.normal_(std=1e-3, generator=generator)
    return model


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
