"""FastMask: one body, a neck that makes its scales, a head that segments what a window holds.

    images -> normalize -> body -> stride 16 (and 24) -> neck -> 32 (48) -> neck -> ... -> reduce
           -> windows of every level -> norm -> objectness
                                             -> attention -> masks

DeepMask* (the paper's own baseline) is the same with an image pyramid in place of the neck: the
canvas resized by 16 / stride for each level, the body run once for each, and no attention.

`FastMask` holds the layers; `losses/fastmask.py` has its losses, `deploy/fastmask.py` the form that
is exported. Sources: Hu et al. 2017, FastMask; voidrank/FastMask at cb118f1 for what the paper
leaves open; Pinheiro et al. 2015, DeepMask.

Letters: B pictures, L levels, C reduced channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes.fastmask import STREAM_STRIDES, FastMaskConfig, FastMaskRecipe
from .bodies import body_for
from .layers import Conv, Normalize
from .picture_edge import every, masked
from .window_head import WindowHead, WindowNorm
from .windows import Level

STRIDE = 16
"""Of the body's first stream."""


class Neck(nn.Module):
    """Halves a map; one set of weights for every level (paper, section 4.1 and table 1)."""

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind = kind
        self.branch: nn.Sequential | None = None
        if kind in ("residual", "forward"):
            expand = Conv(channels // 4, channels)
            self.branch = nn.Sequential(Conv(channels, channels // 4, 3, relu=True), expand)
            if kind == "residual":
                nn.init.normal_(expand.weight, std=1e-5)  # starts as average pooling

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, C, h, w), nothing below zero -> (B, C, ceil(h / 2), ceil(w / 2))."""
        x = masked(x, inside)
        if self.kind == "max":
            return F.max_pool2d(x, 2, ceil_mode=True)
        if self.branch is None:
            return _halved(x, inside)
        branch = masked(self.branch(x), inside)
        if self.kind == "forward":
            return _halved(branch, inside).relu()
        return (_halved(branch, inside) + _halved(x, inside)).relu()


def _halved(x: Tensor, inside: Tensor | None) -> Tensor:
    """Average of 2 x 2 cells; at odd edges of those that are there, as Caffe pools."""
    average = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    if inside is None:
        return average
    there = F.avg_pool2d(inside, 2, ceil_mode=True, count_include_pad=False)  # 1, 1/2, 1/4 or 0
    return average * there.clamp(min=0.25).reciprocal().to(x.dtype)


class FastMask(nn.Module):
    """The layers, in training form."""

    def __init__(self, recipe: FastMaskRecipe) -> None:
        super().__init__()
        config = recipe.model
        self.recipe = recipe
        self.normalize = Normalize(recipe.input)
        self.body = body_for(config)
        self.neck: Neck | None = None
        if config.pyramid == "feature":
            self.neck = Neck(config.neck, self.body.channels)
        self.reduce = nn.Conv2d(self.body.channels, config.reduced_channels, 1, bias=False)
        nn.init.kaiming_normal_(self.reduce.weight, nonlinearity="linear")
        self.norm = WindowNorm(config.reduced_channels, recipe.solver.window_momentum)
        self.head = WindowHead(config)

    def levels(
        self, x: Tensor, strides: tuple[float, ...], inside: Tensor | None = None
    ) -> list[Tensor]:
        """(B, 3, H, W) normalized -> L reduced maps (B, C, h, w), in order of `strides`.

        With `inside` (see `picture_edge`) of the canvas they are those of the picture by itself,
        zero beyond it. An image pyramid takes none: its training, too, sees what the body makes of
        the empty surroundings of a picture.
        """
        if self.neck is None:
            return [self.reduce(self.body(resized(x, stride))[0]) for stride in strides]
        maps = dict(zip(STREAM_STRIDES, self.body(x, inside), strict=False))
        return [
            masked(self.reduce(self._map(maps, inside, stride)), every(inside, int(stride)))
            for stride in strides
        ]

    def _map(self, maps: dict[float, Tensor], inside: Tensor | None, stride: float) -> Tensor:
        """The map at `stride`; finer ones that it needs are added to `maps`."""
        assert self.neck is not None
        if stride not in maps:
            finer = stride / 2
            maps[stride] = self.neck(self._map(maps, inside, finer), every(inside, int(finer)))
        return maps[stride]


def resized(x: Tensor, stride: float) -> Tensor:
    """The canvas on which the body's stride of 16 is `stride` of the whole one."""
    size = resized_hw((x.shape[2], x.shape[3]), stride)
    if size == tuple(x.shape[2:]):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def resized_hw(canvas_hw: tuple[int, int], stride: float) -> tuple[int, int]:
    """Height and width in px of that canvas."""
    return (
        max(round(canvas_hw[0] * STRIDE / stride), 1),
        max(round(canvas_hw[1] * STRIDE / stride), 1),
    )


def level_shapes(
    config: FastMaskConfig, canvas_hw: tuple[int, int], strides: tuple[float, ...]
) -> list[Level]:
    """Height and width in cells of each level."""
    if config.pyramid == "image":
        sizes = [resized_hw(canvas_hw, stride) for stride in strides]
        return [(-(-h // STRIDE), -(-w // STRIDE)) for h, w in sizes]
    height, width = canvas_hw
    return [(int(-(-height // stride)), int(-(-width // stride))) for stride in strides]


def level_strides(
    config: FastMaskConfig, canvas_hw: tuple[int, int], strides: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Canvas px per cell of each level, vertically and horizontally."""
    if config.pyramid == "feature":
        return [(stride, stride) for stride in strides]
    sizes = [resized_hw(canvas_hw, stride) for stride in strides]
    return [(STRIDE * canvas_hw[0] / h, STRIDE * canvas_hw[1] / w) for h, w in sizes]
