"""The first layer of every network: uint8 RGB canvases to normalized maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..recipes.sections import InputConfig
from .picture_edge import inside_of


class Normalize(nn.Module):
    """Cast, reorder channels, subtract the mean, divide by std, and zero what is no picture."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: InputConfig) -> None:
        super().__init__()
        self.flipped = config.channel_order == "BGR"
        self.register_buffer("mean", torch.tensor(config.mean), persistent=False)
        self.register_buffer("std", torch.tensor(config.std), persistent=False)

    def forward(self, images: Tensor, image_sizes: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB, (B, 2) sizes -> (B, 3, H, W) float32, 0 outside the picture."""
        x = images.float().permute(0, 3, 1, 2)  # cast first: TensorRT moves no uint8 around
        if self.flipped:
            x = x.flip(1)
        x = (x - self.mean[:, None, None]) / self.std[:, None, None]
        return x * inside_of(image_sizes, (x.shape[2], x.shape[3]))
