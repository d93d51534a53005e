"""Convolution with an optional norm and ReLU, of which all networks here are made, and others.

Keys follow Detectron2 (`conv1.weight`, `conv1.norm.running_mean`, ...). `fold` is the deploy form:
the norm's fixed affine y = s x + t, s = weight / sqrt(var + eps), t = bias - mean * s, moves into
the convolution, W' = s W and b' = s b + t.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes.sections import InputConfig
from .picture_edge import inside_of, masked

EPS = 1e-5

Norm = Literal["frozen", "batch"]


class FrozenNorm(nn.Module):
    """A fixed per-channel affine in batch norm's clothes: four buffers, no parameters."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels) - EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        scale = self.weight * (self.running_var + EPS).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)


class TrainedNorm(nn.Module):
    """What every trained norm keeps: an affine and running statistics, by `FrozenNorm`'s keys."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))


class BatchNorm(TrainedNorm):
    """Batch norm without the step counter of torch's own, which nothing here reads."""

    momentum = 0.1

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape; batch statistics in training, running ones otherwise."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            EPS,
        )


class Conv(nn.Conv2d):
    """Convolution that keeps the map's size (divided by stride), then norm, then ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        norm: Norm | None = None,
        relu: bool = False,
    ) -> None:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2)
        super().__init__(channels_in, channels_out, sides, stride, padding, bias=norm is None)
        self.norm: FrozenNorm | BatchNorm | None = None
        if norm is not None:
            self.norm = (FrozenNorm if norm == "frozen" else BatchNorm)(channels_out)
        self.relu = relu
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, ceil(H / stride), ceil(W / stride)); `picture_edge`."""
        x = super().forward(masked(x, inside))
        if self.norm is not None:
            x = self.norm(x)
        return x.relu_() if self.relu else x

    @torch.no_grad()
    def fold(self) -> None:
        """Move the norm into weight and bias (inference only; the norm is gone afterwards)."""
        if self.norm is None:
            return
        scale = self.norm.weight / (self.norm.running_var + EPS).sqrt()
        self.weight.mul_(scale[:, None, None, None])
        self.bias = nn.Parameter(self.norm.bias - self.norm.running_mean * scale)
        self.norm = None


class Doubling(nn.ConvTranspose2d):
    """2x2 deconvolution of stride 2: (N, Cin, h, w) -> (N, Cout, 2h, 2w).

    Its kernels do not overlap: each of a cell's four corners is a 1x1 convolution of that cell.
    After `fold` it is one of four times the channels, (N, 4 Cout, h, w), corner before channel, and
    nothing moves the corners to their places before there are few numbers of each.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 2, stride=2)
        self.folded = False

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """As the class says."""
        if self.folded:
            return F.conv2d(x, self.weight, self.bias)
        return super().forward(x, output_size)

    @torch.no_grad()
    def fold(self) -> None:
        """Make it the 1x1 convolution (inference only)."""
        if self.folded:
            return
        assert self.bias is not None, "as constructed"
        corners = self.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 Cout, Cin)
        self.weight = nn.Parameter(corners[..., None, None].contiguous())
        self.bias = nn.Parameter(self.bias.repeat(4))
        self.folded = True


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


class Convolutions(nn.Sequential):
    """Layers and blocks in a row; `inside` is of the map that comes out of each."""

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, Cin, H, W) -> the last one's (B, Cout, h, w)."""
        for layer in self:
            x = layer(x, inside)
        return x


def fold(model: nn.Module) -> None:
    """Fold every norm of `model` into its convolution, and every deconvolution, in place."""
    for module in model.modules():
        if isinstance(module, Conv | Doubling):
            module.fold()
