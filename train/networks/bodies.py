"""FastMask's bodies: pictures to one map at stride 16 and, with two streams, another at stride 24.

Both streams branch at stride 8 and go through the same last stage (paper, section 5.1; the
published code's second stage has weights of its own, `compat: original`).

- `ResNetBody`: ResNet cut after res4, strides in the first 1x1 convolutions as in MSRA's weights,
  which makes a stride the same as taking every second or third cell before the stage.
- `VGGBody`: VGG-16 (Simonyan and Zisserman 2015, configuration D) up to conv5_3; the fourth pooling
  is by 2 or by 3.
- `PVABody`: in the style of PVANet (Kim et al. 2016, tables 1 and 2): C.ReLU blocks to stride 8,
  then four Inception blocks. An own reading of the published layers: the paper's figures do not
  depend on it, and no weights of it exist.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes.fastmask import FastMaskConfig
from .layers import Conv, Convolutions, Norm
from .picture_edge import every, masked
from .resnet import Stage, Stem, stage

STREAM_STEPS = (2, 3)
"""From stride 8 to stride 16 and to stride 24."""


def body_for(config: FastMaskConfig) -> ResNetBody | VGGBody | PVABody:
    """The body a recipe names."""
    if config.body == "resnet":
        return ResNetBody(config)
    return (VGGBody if config.body == "vgg" else PVABody)(config)


class ResNetBody(nn.Module):
    """ResNet-39 by default: 13 bottlenecks, 1024 channels out (four times `body_channels`)."""

    def __init__(self, config: FastMaskConfig) -> None:
        super().__init__()
        width, norm = config.body_channels, config.norm
        self.streams, self.channels = config.streams, 4 * width
        original = config.compat == "original"
        self.stem = Stem(config.stem_channels, norm, caffe_pool=original)
        self.res2 = self._stage(config, 0, config.stem_channels, width, stride=1)
        self.res3 = self._stage(config, 1, width, 2 * width, stride=2)
        self.res4 = self._stage(config, 2, 2 * width, 4 * width, stride=1)
        self.res4_second: Stage | None = None
        if original and config.streams == 2:
            self.res4_second = copy.deepcopy(self.res4)

    @staticmethod
    def _stage(config: FastMaskConfig, number: int, before: int, after: int, stride: int) -> Stage:
        blocks, norm = config.blocks[number], config.norm
        return stage(blocks, before, after, stride=stride, stride_in_1x1=True, norm=norm)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> list[Tensor]:
        """(B, 3, H, W) -> one map per stream, (B, C, ceil(H / 16), ...) and ceil(H / 24).

        `inside` is of the canvas; cells of the maps beyond the picture hold anything.
        """
        x = self.res2(self.stem(x, inside), every(inside, 4))
        x = self.res3(x, every(inside, 4))
        first = self.res4(x[:, :, ::2, ::2], every(inside, 16))
        if self.streams == 1:
            return [first]
        second = self.res4 if self.res4_second is None else self.res4_second
        return [first, second(x[:, :, ::3, ::3], every(inside, 24))]


class VGGBody(nn.Module):
    """VGG-16's thirteen convolutions, 512 channels out."""

    def __init__(self, config: FastMaskConfig) -> None:
        super().__init__()
        width = config.stem_channels
        # Pre-trained VGG has no norms; runs from scratch need them.
        self.norm: Norm | None = "batch" if config.norm == "batch" else None
        self.streams, self.channels = config.streams, 8 * width
        self.stages = nn.ModuleList(
            (
                self._stage(3, width, 2),
                self._stage(width, 2 * width, 2),
                self._stage(2 * width, 4 * width, 3),
                self._stage(4 * width, 8 * width, 3),
            )
        )
        self.conv5 = self._stage(8 * width, 8 * width, 3)

    def _stage(self, before: int, after: int, convolutions: int) -> Convolutions:
        return Convolutions(
            *(
                Conv(after if n else before, after, 3, norm=self.norm, relu=True)
                for n in range(convolutions)
            )
        )

    def forward(self, x: Tensor, inside: Tensor | None = None) -> list[Tensor]:
        """See `ResNetBody.forward`."""
        for number, convolutions in enumerate(self.stages):
            if number:
                x = F.max_pool2d(masked(x, inside), 2, ceil_mode=True)
                inside = every(inside, 2)
            x = convolutions(x, inside)
        x = masked(x, inside)
        return [
            self.conv5(F.max_pool2d(x, step, ceil_mode=True), every(inside, step))
            for step in STREAM_STEPS[: self.streams]
        ]


class CReLU(nn.Module):
    """ReLU of a convolution and of its negative: twice the channels for one convolution."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv = Conv(before, after // 2, kernel, stride=stride, norm=norm)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, Cin, H, W) -> (B, after, ceil(H / stride), ...)."""
        x = self.conv(x, inside)
        return torch.cat((x, -x), dim=1).relu()


class CReLUBlock(nn.Module):
    """1x1, 3x3 C.ReLU, 1x1, plus shortcut."""

    def __init__(self, before: int, mid: int, after: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = Conv(before, mid, stride=stride, norm=norm, relu=True)
        self.conv2 = CReLU(mid, 2 * mid, 3, 1, norm)
        self.conv3 = Conv(2 * mid, after, norm=norm)
        self.shortcut: Conv | None = None
        if before != after or stride != 1:
            self.shortcut = Conv(before, after, stride=stride, norm=norm)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, before, H, W) -> (B, after, ceil(H / stride), ...); `inside` of what comes out."""
        identity = x if self.shortcut is None else self.shortcut(x)
        return (self.conv3(self.conv2(self.conv1(x), inside)) + identity).relu()


class Inception(nn.Module):
    """1x1, 3x3 and two 3x3 side by side, joined by a 1x1, plus shortcut."""

    def __init__(self, before: int, widths: tuple[int, ...], after: int, norm: Norm) -> None:
        super().__init__()
        one, mid3, out3, mid5, out5 = widths
        self.one = Conv(before, one, norm=norm, relu=True)
        self.three = Convolutions(
            Conv(before, mid3, norm=norm, relu=True), Conv(mid3, out3, 3, norm=norm, relu=True)
        )
        self.five = Convolutions(
            Conv(before, mid5, norm=norm, relu=True),
            Conv(mid5, out5, 3, norm=norm, relu=True),
            Conv(out5, out5, 3, norm=norm, relu=True),
        )
        self.join = Conv(one + out3 + out5, after, norm=norm)
        self.shortcut = None if before == after else Conv(before, after, norm=norm)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, before, H, W) -> (B, after, H, W)."""
        identity = x if self.shortcut is None else self.shortcut(x)
        branches = torch.cat((self.one(x), self.three(x, inside), self.five(x, inside)), dim=1)
        return (self.join(branches) + identity).relu()


class PVABody(nn.Module):
    """PVANet's conv1 to conv4, 256 channels out when `stem_channels` is 32."""

    def __init__(self, config: FastMaskConfig) -> None:
        super().__init__()
        norm, unit = config.norm, config.stem_channels / 32

        def width(channels: int) -> int:
            return max(int(channels * unit), 4)

        self.streams, self.channels = config.streams, width(256)
        self.conv1 = CReLU(3, width(32), 7, 2, norm)
        self.conv2 = Convolutions(
            *(CReLUBlock(width(64 if n else 32), width(24), width(64), 1, norm) for n in range(3))
        )
        self.conv3 = Convolutions(
            *(
                CReLUBlock(width(128 if n else 64), width(48), width(128), 1 if n else 2, norm)
                for n in range(4)
            )
        )
        branches = tuple(width(c) for c in (64, 48, 128, 24, 48))
        self.conv4 = Convolutions(
            *(Inception(width(256 if n else 128), branches, width(256), norm) for n in range(4))
        )

    def forward(self, x: Tensor, inside: Tensor | None = None) -> list[Tensor]:
        """See `ResNetBody.forward`."""
        x = F.max_pool2d(masked(self.conv1(x), every(inside, 2)), 3, stride=2, padding=1)
        x = self.conv3(self.conv2(x, every(inside, 4)), every(inside, 8))
        return [
            self.conv4(x[:, :, ::step, ::step], every(inside, 8 * step))
            for step in STREAM_STEPS[: self.streams]
        ]
