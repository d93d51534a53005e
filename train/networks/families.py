"""The families of networks side by side: what a recipe's family means for each step."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.target import Target
from ..losses.fastmask import fastmask_losses
from ..losses.mask_rcnn import mask_rcnn_losses
from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.recipe import Recipe
from .fastmask import FastMask
from .mask_rcnn import MaskRCNN
from .resnet import calm_frozen_norms

Network = MaskRCNN | FastMask


def new_network(recipe: Recipe) -> Network:
    """An untrained network, from torch's random state."""
    model = MaskRCNN(recipe) if isinstance(recipe, MaskRCNNRecipe) else FastMask(recipe)
    calm_frozen_norms(model)
    return model


def losses(
    model: Network,
    images: Tensor,
    image_sizes: Tensor,
    targets: list[Target],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """All loss terms of one batch; arguments as `mask_rcnn_losses`."""
    if isinstance(model, MaskRCNN):
        return mask_rcnn_losses(model, images, image_sizes, targets, generator)
    return fastmask_losses(model, images, image_sizes, targets, generator)
