"""ResNet with bottlenecks: cut after res4 (stride 16) with res5 as a stage of its own, or whole.

Source: He et al. 2016, Deep Residual Learning, table 1 (ResNet-50); layout and names as Detectron2
modeling/backbone/resnet.py at 02b5c4e2. `stride_in_1x1` is the MSRA layout of Detectron's weights,
its absence torchvision's.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import Conv, FrozenNorm, Norm
from .picture_edge import every, masked


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand, plus shortcut; ReLU after the sum."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        channels_mid: int,
        *,
        stride: int,
        stride_in_1x1: bool,
        norm: Norm,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut: Conv | None = None
        if channels_in != channels_out or stride != 1:
            self.shortcut = Conv(channels_in, channels_out, stride=stride, norm=norm)
        self.conv1 = Conv(channels_in, channels_mid, stride=first, norm=norm, relu=True)
        self.conv2 = Conv(channels_mid, channels_mid, 3, stride=second, norm=norm, relu=True)
        self.conv3 = Conv(channels_mid, channels_out, norm=norm)
        self.step = stride

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, ceil(H / stride), ceil(W / stride))."""
        identity = x if self.shortcut is None else self.shortcut(x)
        x = self.conv2(self.conv1(x), every(inside, self.conv1.stride[0]))
        return (self.conv3(x) + identity).relu_()


class Stage(nn.Sequential):
    """Bottlenecks; `inside` is of the map that comes in."""

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, ceil(H / stride), ceil(W / stride))."""
        for block in self:
            assert isinstance(block, Bottleneck), "what stages are made of"
            x = block(x, inside)
            inside = every(inside, block.step)
        return x


def stage(
    blocks: int,
    channels_in: int,
    channels_out: int,
    *,
    stride: int,
    stride_in_1x1: bool,
    norm: Norm,
) -> Stage:
    """`blocks` bottlenecks, the first with the stride and the change of width."""
    return Stage(
        *(
            Bottleneck(
                channels_in if i == 0 else channels_out,
                channels_out,
                channels_out // 4,
                stride=stride if i == 0 else 1,
                stride_in_1x1=stride_in_1x1,
                norm=norm,
            )
            for i in range(blocks)
        )
    )


class Stem(nn.Module):
    """7x7 stride 2 convolution and 3x3 stride 2 max pooling."""

    def __init__(self, channels: int, norm: Norm, *, caffe_pool: bool = False) -> None:
        super().__init__()
        self.conv1 = Conv(3, channels, 7, stride=2, norm=norm, relu=True)
        self.caffe_pool = caffe_pool  # no padding, last windows cut off at the edge

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, C, ceil(H / 4), ceil(W / 4)); `inside` of the canvas."""
        x = masked(self.conv1(x), every(inside, 2))  # nothing below zero, so no maximum either
        padding = 0 if self.caffe_pool else 1
        return F.max_pool2d(x, 3, stride=2, padding=padding, ceil_mode=self.caffe_pool)


class ResNetC4(nn.Module):
    """Stem to res4: (B, 3, H, W) -> (B, 4 * channels, ceil(H / 16), ceil(W / 16))."""

    def __init__(
        self,
        stem_channels: int,
        channels: int,
        blocks: tuple[int, ...],
        *,
        stride_in_1x1: bool,
        norm: Norm,
        freeze_at: int,
    ) -> None:
        super().__init__()
        self.stem = Stem(stem_channels, norm)
        make = partial(stage, stride_in_1x1=stride_in_1x1, norm=norm)
        self.res2 = make(blocks[0], stem_channels, channels, stride=1)
        self.res3 = make(blocks[1], channels, 2 * channels, stride=2)
        self.res4 = make(blocks[2], 2 * channels, 4 * channels, stride=2)
        stages = (self.stem, self.res2, self.res3, self.res4)
        for frozen in stages[:freeze_at]:
            frozen.requires_grad_(requires_grad=False)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """See the class docstring."""
        x = self.res2(self.stem(x, inside), every(inside, 4))
        return self.res4(self.res3(x, every(inside, 4)), every(inside, 8))


class ResNetC5(ResNetC4):
    """With res5, and the maps of all four stages: what a pyramid is made of."""

    def __init__(
        self,
        stem_channels: int,
        channels: int,
        blocks: tuple[int, ...],
        *,
        stride_in_1x1: bool,
        norm: Norm,
        freeze_at: int,
    ) -> None:
        super().__init__(
            stem_channels,
            channels,
            blocks,
            stride_in_1x1=stride_in_1x1,
            norm=norm,
            freeze_at=freeze_at,
        )
        make = partial(stage, stride_in_1x1=stride_in_1x1, norm=norm)
        self.res5 = make(blocks[3], 4 * channels, 8 * channels, stride=2)

    def maps(self, x: Tensor, inside: Tensor | None = None) -> list[Tensor]:
        """(B, 3, H, W) -> res2 to res5, widths from C to 8 C, strides from 4 to 32."""
        second = self.res2(self.stem(x, inside), every(inside, 4))
        third = self.res3(second, every(inside, 4))
        fourth = self.res4(third, every(inside, 8))
        return [second, third, fourth, self.res5(fourth, every(inside, 16))]


@torch.no_grad()
def scale_untrained_norms(model: nn.Module) -> None:
    """Give an untrained network's frozen norms a scale, in place; they come as the identity.

    Pre-trained statistics would undo the pixels' spread (about 64, as they come) and the growth of
    every residual sum. Without any, sixteen blocks leave nothing that a softmax or FP16 can tell
    apart. A quarter of each branch keeps the sum's spread within a factor of two over them all.
    """
    for module in model.modules():
        if isinstance(module, Stem) and isinstance(module.conv1.norm, FrozenNorm):
            module.conv1.norm.weight.fill_(1 / 64)
        if isinstance(module, Bottleneck) and isinstance(module.conv3.norm, FrozenNorm):
            module.conv3.norm.weight.fill_(1 / 4)
