"""The loss terms of a batch, whatever the family of the network."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.target import Target
from ..networks.families import Network
from ..networks.mask_rcnn import MaskRCNN
from ..networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from .fastmask import fastmask_losses
from .mask_rcnn import mask_rcnn_losses
from .mask_rcnn_fpn import mask_rcnn_fpn_losses


def loss_terms(
    model: Network,
    images: Tensor,
    image_sizes: Tensor,
    targets: list[Target],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """All loss terms of one batch.

    Args:
        model: in training mode.
        images: (B, H, W, 3) uint8 RGB canvases.
        image_sizes: (B, 2) int32.
        targets: B ground truths.
        generator: CPU generator; decides all sampling, so equal states give equal losses.

    Returns:
        Scalars by name; their sum is the loss.
    """
    if isinstance(model, MaskRCNN):
        return mask_rcnn_losses(model, images, image_sizes, targets, generator)
    if isinstance(model, MaskRCNNFPN):
        return mask_rcnn_fpn_losses(model, images, image_sizes, targets, generator)
    return fastmask_losses(model, images, image_sizes, targets, generator)
