"""Mask R-CNN as it is trained and as it comes."""

from collections.abc import Callable

import numpy as np
import torch

from maskrt.train.networks.families import new_network
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.recipes.mask_rcnn import MaskRCNNRecipe
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.shapes.scenes import draw_scene

MakeRecipe = Callable[..., MaskRCNNRecipe]


def test_frozen_stages_are_not_trained(tiny: MakeRecipe) -> None:
    model = MaskRCNN(tiny("model.freeze_at=2"))
    trained = {
        name.split(".")[1]
        for name, p in model.backbone.named_parameters(prefix="b")
        if p.requires_grad
    }
    assert trained == {"res3", "res4"}
    assert all(p.requires_grad for p in model.rpn.parameters())


def test_untrained_full_size_network_stays_in_range() -> None:
    """With norms of the identity its features are in the thousands and every score is 0 or 1."""
    torch.manual_seed(0)
    recipe = load_recipe("mask_rcnn_r50_c4", ["input.canvas_hw=[64,96]"])
    model = new_network(recipe).eval()
    assert isinstance(model, MaskRCNN)
    image = torch.from_numpy(draw_scene(np.random.default_rng(0)).image[None, :64, :96].copy())
    with torch.inference_mode():
        pixels = model.normalize(image, torch.tensor([[64, 96]]))
        features = model.backbone(pixels)
    assert pixels.abs().mean() > 20
    assert 0.01 < features.std() < 10
