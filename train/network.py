"""The families of networks side by side: what a recipe's family means for each step."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import MaskRCNNRecipe
from .fastmask import FastMask
from .fastmask_losses import fastmask_losses
from .losses import mask_rcnn_losses
from .mask_rcnn import MaskRCNN
from .recipe import Recipe
from .resnet import calm_frozen_norms
from .target import Target

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
