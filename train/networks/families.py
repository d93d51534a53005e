"""The families of networks side by side: a recipe's network."""

from __future__ import annotations

from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.recipe import Recipe
from .fastmask import FastMask
from .mask_rcnn import MaskRCNN
from .resnet import scale_untrained_norms

Network = MaskRCNN | FastMask


def new_network(recipe: Recipe) -> Network:
    """An untrained network, from torch's random state."""
    model = MaskRCNN(recipe) if isinstance(recipe, MaskRCNNRecipe) else FastMask(recipe)
    scale_untrained_norms(model)
    return model
