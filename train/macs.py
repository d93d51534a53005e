"""Parameters and multiply-accumulates of a network, counted without computing anything.

MACs are those of convolutions, deconvolutions and matrix products, as torch's own flop counter
sees them (a MAC is two flops). RoIAlign and NMS are left out, as in the tables these figures are
compared with: boxes and masks go through the per-RoI layers at given numbers of RoIs, on an input
of given size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .networks.fastmask import FastMask, level_shapes, resized_hw
from .networks.layers import BatchNorm, FrozenNorm
from .networks.mask_rcnn import STRIDE, MaskRCNN
from .networks.window_head import WindowNorm
from .networks.windows import window_count
from .recipes.fastmask import FastMaskRecipe
from .recipes.mask_rcnn import MaskRCNNRecipe


@dataclass(frozen=True)
class MaskRCNNCost:
    """What one picture costs; MACs by part."""

    parameters: int
    """Weights and biases without norms."""
    backbone: int
    separable: int
    rpn: int
    box_branch: int
    mask_branch: int

    @property
    def total(self) -> int:
        """MACs of the whole network."""
        return self.backbone + self.separable + self.rpn + self.box_branch + self.mask_branch


def mask_rcnn_cost(
    recipe: MaskRCNNRecipe,
    image_hw: tuple[int, int] = (800, 1200),
    rois: int = 1000,
    detections: int = 100,
) -> MaskRCNNCost:
    """Count one picture of `image_hw` with `rois` proposals and `detections` masks."""
    with torch.device("meta"):
        model = MaskRCNN(recipe).eval()
        x = torch.zeros(1, 3, *image_hw)
        c4 = torch.zeros(
            1, 4 * recipe.model.backbone_channels, *(-(-s // STRIDE) for s in image_hw)
        )
        features = c4 if model.separable is None else model.separable(c4)
        side, width = recipe.model.roi_size, features.shape[1]
        many = torch.zeros(rois, width, side, side)
        few = torch.zeros(detections, width, side, side)
        separable = 0 if model.separable is None else _macs(model.separable, c4)
        return MaskRCNNCost(
            parameters=parameters_without_norms(model),
            backbone=_macs(model.backbone, x),
            separable=separable,
            rpn=_macs(model.rpn, features),
            box_branch=_macs(_BoxBranch(model), many),
            mask_branch=_macs(_MaskBranch(model), few),
        )


@dataclass(frozen=True)
class FastMaskCost:
    """What one picture costs; MACs by part."""

    parameters: int
    """Weights and biases without norms."""
    body: int
    """Of an image pyramid: the body at every size."""
    neck: int
    reduce: int
    objectness: int
    """Of every window, as dense convolutions."""
    masks: int
    """Attention and masks of the proposals that come out."""

    @property
    def total(self) -> int:
        """MACs of the whole network."""
        return self.body + self.neck + self.reduce + self.objectness + self.masks


def fastmask_cost(
    recipe: FastMaskRecipe,
    canvas_hw: tuple[int, int] | None = None,
    proposals: int | None = None,
) -> FastMaskCost:
    """Count one picture of `canvas_hw` with `proposals` windows decoded; None: the recipe's."""
    config, canvas_hw = recipe.model, canvas_hw or recipe.input.canvas_hw
    strides = config.test_strides
    shapes = level_shapes(config, canvas_hw, strides)
    windows, cells = window_count(shapes), sum(h * w for h, w in shapes)
    slots = min(proposals or recipe.windows.per_image, windows)
    with torch.device("meta"):
        model = FastMask(recipe).eval()
        sizes = [canvas_hw]
        if config.pyramid == "image":
            sizes = [resized_hw(canvas_hw, stride) for stride in strides]
        body = sum(_macs(model.body, torch.zeros(1, 3, *size)) for size in sizes)
        whole = _macs(_Levels(model), torch.zeros(1, 3, *canvas_hw))
        reduce = cells * model.reduce.weight.numel()
        one = torch.zeros(1, 10, 10, config.reduced_channels)
        return FastMaskCost(
            parameters=parameters_without_norms(model),
            body=body,
            neck=whole - body - reduce,
            reduce=reduce,
            objectness=windows * _macs(_Scores(model), one),
            masks=slots * _macs(_Masks(model), one),
        )


class _Levels(nn.Module):
    def __init__(self, model: FastMask) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.model.levels(x, self.model.recipe.model.test_strides)


class _Scores(nn.Module):
    def __init__(self, model: FastMask) -> None:
        super().__init__()
        self.head = model.head

    def forward(self, windows: Tensor) -> Tensor:
        return self.head.scores(windows)


class _Masks(_Scores):
    def forward(self, windows: Tensor) -> Tensor:
        return self.head.masks(windows)[0]


def parameters_without_norms(model: nn.Module) -> int:
    """Number of weights and biases, norms left out as the paper counts them."""
    total = sum(p.numel() for p in model.parameters())
    norms = (m for m in model.modules() if isinstance(m, (BatchNorm, FrozenNorm, WindowNorm)))
    return total - sum(p.numel() for norm in norms for p in norm.parameters())


class _BoxBranch(nn.Module):
    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.subnet, self.predictor = model.subnet, model.box_predictor

    def forward(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        outputs: tuple[Tensor, Tensor] = self.predictor(self.subnet.pooled(self.subnet(rois)))
        return outputs


class _MaskBranch(nn.Module):
    """Subnet, deconvolution and a mask channel of every class, as the tables count it."""

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.subnet, self.head = model.subnet, model.mask_head

    def forward(self, rois: Tensor) -> Tensor:
        masks: Tensor = self.head.predictor(self.head.deconv(self.subnet(rois)))
        return masks


def _macs(module: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        module(x)
    return counter.get_total_flops() // 2
