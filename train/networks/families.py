"""The families of networks side by side: a recipe's network."""

from __future__ import annotations

from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from ..recipes.recipe import Recipe
from .fastmask import FastMask
from .mask_rcnn import MaskRCNN
from .pyramid.mask_rcnn_fpn import MaskRCNNFPN
from .resnet import scale_untrained_norms

Network = MaskRCNN | MaskRCNNFPN | FastMask


def new_network(recipe: Recipe) -> Network:
    """An untrained network, from torch's random state."""
    model = _network(recipe)
    scale_untrained_norms(model)
    return model


def _network(recipe: Recipe) -> Network:
    if isinstance(recipe, MaskRCNNRecipe):
        return MaskRCNN(recipe)
    return MaskRCNNFPN(recipe) if isinstance(recipe, MaskRCNNFPNRecipe) else FastMask(recipe)
