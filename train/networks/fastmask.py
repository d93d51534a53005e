"""FastMask: one body, a neck that makes its scales, a head that segments what a window holds.

    images -> normalize -> body -> stride 16 (and 24) -> neck -> 32 (48) -> neck -> ...
           -> reduce -> packed pyramid -> objectness of every window -> the best K over all levels
           -> those windows cut out -> attention -> masks

DeepMask* (the paper's own baseline) is the same with an image pyramid in place of the neck: the
canvas resized by 16 / stride for each level, the body run once for each, and no attention.

`FastMask` holds the layers (losses live in `fastmask_losses.py`), `DeployFastMask` is its deploy
form: exactly the graph that export writes. Sources: Hu et al. 2017, FastMask; voidrank/FastMask at
cb118f1 for what the paper leaves open; Pinheiro et al. 2015, DeepMask.

Letters: B pictures, L levels, N cells and W windows of all levels, K slots, C reduced channels,
m mask side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes.fastmask import STREAM_STRIDES, FastMaskConfig, FastMaskRecipe
from .bodies import body_for
from .layers import Conv, fold_norms
from .nms import NEVER
from .normalize import Normalize
from .top_k import top_k
from .window_head import WindowHead, WindowNorm
from .windows import HALF, WINDOW, Level, pack, window_align_operator, window_boxes, window_count

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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, ceil(h / 2), ceil(w / 2))."""
        if self.kind == "max":
            return F.max_pool2d(x, 2, ceil_mode=True)
        if self.branch is None:
            return _halved(x)
        if self.kind == "forward":
            return _halved(self.branch(x)).relu()
        return (_halved(self.branch(x)) + _halved(x)).relu()


def _halved(x: Tensor) -> Tensor:
    """Average of 2 x 2 cells; at odd edges of those that are there, as Caffe pools."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


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
        self.norm = WindowNorm(config.reduced_channels)
        self.head = WindowHead(config)

    def levels(self, x: Tensor, strides: tuple[float, ...]) -> list[Tensor]:
        """(B, 3, H, W) normalized -> L reduced maps (B, C, h, w), in order of `strides`."""
        if self.neck is None:
            return [self.reduce(self.body(resized(x, stride))[0]) for stride in strides]
        maps = dict(zip(STREAM_STRIDES, self.body(x), strict=False))
        return [self.reduce(self._map(maps, stride)) for stride in strides]

    def _map(self, maps: dict[float, Tensor], stride: float) -> Tensor:
        """The map at `stride`; finer ones that it needs are added to `maps`."""
        assert self.neck is not None
        if stride not in maps:
            maps[stride] = self.neck(self._map(maps, stride / 2))
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


class DeployFastMask(nn.Module):
    """The deploy form: norms folded, every window scored densely, K windows decoded.

    A fully connected layer over every window is a 10 x 10 convolution over the map padded by 5
    cells. The windows' norm y = a x + t folds exactly although padding is inside the norm: `reduce`
    takes the factor a, which leaves padding zero, and t, the same in every cell, becomes part of
    the next layer's bias. The model is folded in place.
    """

    boxes: Tensor
    shift: Tensor

    def __init__(self, model: FastMask, canvas_hw: tuple[int, int], slots: int) -> None:
        super().__init__()
        self.model = model.eval()
        config = model.recipe.model
        self.strides = config.test_strides
        self.shapes = level_shapes(config, canvas_hw, self.strides)
        self.slots = min(slots, window_count(self.shapes))
        steps = level_strides(config, canvas_hw, self.strides)
        self.register_buffer("boxes", window_boxes(self.shapes, steps), persistent=False)
        fold_norms(model)
        self._fold_window_norm()

    @torch.no_grad()
    def _fold_window_norm(self) -> None:
        model, head = self.model, self.model.head
        scale, shift = model.norm.trained()
        model.reduce.weight.mul_(scale[:, None, None, None])
        everywhere = shift.repeat(WINDOW**2)
        for layer in (head.score_1, head.attention):
            if layer is not None:
                layer.bias.add_(layer.weight @ everywhere)
        self.register_buffer("shift", shift.clone(), persistent=False)
        # Nothing but a factor and a shift stands between the two mask layers.
        head.mask_2.bias.add_(head.mask_2.weight @ head.mask_shift)
        head.mask_2.weight.mul_(head.gain * head.mask_scale)
        dense = head.score_1.weight.unflatten(1, (WINDOW, WINDOW, -1)).permute(0, 3, 1, 2)
        self.score_1 = nn.Parameter(dense.contiguous())

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """Run the whole network.

        Args:
            images: (B, H, W, 3) uint8 RGB canvases, pictures at the top left.
            image_sizes: (B, 2) int32 valid (height, width).

        Returns:
            windows (B, K, 4) float32 xyxy canvas px, reaching outside at its edges; scores (B, K)
            objectness, best first; masks (B, K, m, m) probabilities in each window; counts (B,)
            int32. Zeros past the count.
        """
        x = self.model.normalize(images, image_sizes)
        maps = self.model.levels(x, self.strides)
        logits = self._valid_only(self.objectness(maps), image_sizes)
        best, index = top_k(logits, self.slots)
        found = best > NEVER / 2
        windows = self.boxes[index] * found[..., None]
        masks = self.masks(pack(maps), index).sigmoid() * found[..., None, None]
        return windows, best.sigmoid() * found, masks, found.sum(dim=1).to(torch.int32)

    def objectness(self, maps: list[Tensor]) -> Tensor:
        """L maps (B, C, h, w) -> (B, W) logits of every window."""
        head = self.model.head
        dense = [F.conv2d(x, self.score_1, head.score_1.bias, padding=HALF).relu() for x in maps]
        x = torch.cat([level.flatten(2) for level in dense], dim=2)[..., None]  # (B, F, W, 1)
        x = F.conv2d(x, head.score_2.weight[..., None, None], head.score_2.bias).relu()
        x = F.conv2d(x, head.objectness.weight[..., None, None], head.objectness.bias)
        return x[:, 0, :, 0].float()

    def _valid_only(self, logits: Tensor, image_sizes: Tensor) -> Tensor:
        """Windows centred outside the picture are never chosen."""
        center_y = (self.boxes[:, 1] + self.boxes[:, 3]) / 2
        center_x = (self.boxes[:, 0] + self.boxes[:, 2]) / 2
        sizes = image_sizes.float()
        inside = (center_y[None] <= sizes[:, :1]) & (center_x[None] <= sizes[:, 1:])
        return torch.where(inside, logits, NEVER)

    def masks(self, pyramid: Tensor, index: Tensor) -> Tensor:
        """(B, N, C) and (B, K) -> (B, K, m, m) mask logits of those windows.

        Attention is taken here and not densely: the same numbers for a tenth of the windows.
        """
        head = self.model.head
        spatial_shapes = [side for shape in self.shapes for side in shape]
        windows = window_align_operator(pyramid, index, spatial_shapes, WINDOW)
        seen = windows + self.shift
        if head.attention is not None:
            attention = head.attention(windows.flatten(1)).sigmoid()
            seen = seen * attention.unflatten(1, (WINDOW, WINDOW))[..., None]
        x = head.mask_2(head.mask_1(seen.flatten(1)))
        logits: Tensor = x.unflatten(1, (head.cells, head.cells))
        return logits.unflatten(0, (index.shape[0], index.shape[1]))
