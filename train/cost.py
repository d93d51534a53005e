"""Parameters and multiply-accumulates of a network, counted without computing anything.

MACs are those of convolutions, deconvolutions and matrix products, as torch's own flop counter
sees them (a MAC is two flops). RoIAlign and NMS are left out, as in the tables these figures are
compared with: boxes and masks go through the per-RoI layers at given numbers of RoIs, on an input
of given size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .networks.fastmask import FastMask, level_shapes, resized_hw
from .networks.heads import MaskHead
from .networks.layers import TrainedNorm
from .networks.mask_rcnn import MaskRCNN
from .networks.pyramid.fpn import PADDING_PX, STRIDES
from .networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from .networks.windows import WINDOW, window_count
from .recipes.fastmask import FastMaskRecipe
from .recipes.mask_rcnn import MaskRCNNRecipe
from .recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe


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
    side = recipe.model.roi_size
    with torch.device("meta"):
        model = MaskRCNN(recipe).eval()
        subnet = model.subnet
        x = torch.zeros(1, 3, *image_hw)
        features = model.features(x)
        many, few = (
            features.new_zeros(n, features.shape[1], side, side) for n in (rois, detections)
        )
        backbone = _macs(model.backbone, x)
        return MaskRCNNCost(
            parameters=parameters_without_norms(model),
            backbone=backbone,
            separable=_macs(model.features, x) - backbone,
            rpn=_macs(model.rpn, features),
            box_branch=_macs(lambda y: model.box_predictor(subnet.pooled(subnet(y))), many),
            mask_branch=_mask_macs(model.mask_head, subnet, few),
        )


@dataclass(frozen=True)
class MaskRCNNFPNCost:
    """What one picture costs; MACs by part."""

    parameters: int
    """Weights and biases without norms."""
    backbone: int
    pyramid: int
    rpn: int
    box_branch: int
    mask_branch: int

    @property
    def total(self) -> int:
        """MACs of the whole network."""
        return self.backbone + self.pyramid + self.rpn + self.box_branch + self.mask_branch


def mask_rcnn_fpn_cost(
    recipe: MaskRCNNFPNRecipe,
    image_hw: tuple[int, int] = (800, 1200),
    rois: int = 1000,
    detections: int = 100,
) -> MaskRCNNFPNCost:
    """Count one picture of `image_hw` as it is padded; arguments as `mask_rcnn_cost`."""
    config, width = recipe.model, recipe.model.fpn_channels
    height, width_px = (-(-side // PADDING_PX) * PADDING_PX for side in image_hw)
    with torch.device("meta"):
        model = MaskRCNNFPN(recipe).eval()
        x = torch.zeros(1, 3, height, width_px)
        levels = [torch.zeros(1, width, -(-height // s), -(-width_px // s)) for s in STRIDES]
        many = torch.zeros(rois, width, config.box_cells, config.box_cells)
        few = torch.zeros(detections, width, config.mask_cells, config.mask_cells)
        backbone = _macs(model.backbone.maps, x)
        return MaskRCNNFPNCost(
            parameters=parameters_without_norms(model),
            backbone=backbone,
            pyramid=_macs(model.features, x) - backbone,
            rpn=sum(_macs(model.rpn, level) for level in levels),
            box_branch=_macs(lambda y: model.box_predictor(model.box_head(y)), many),
            mask_branch=_mask_macs(model.mask_head, nn.Identity(), few),
        )


def _mask_macs(head: MaskHead | None, trunk: nn.Module, rois: Tensor) -> int:
    """MACs of a mask branch, if any, with a channel of every class, as the tables count it."""
    if head is None:
        return 0
    return _macs(lambda y: head.predictor(head.deconv(head.convolutions(trunk(y)))), rois)


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
        levels = _macs(lambda x: model.levels(x, strides), torch.zeros(1, 3, *canvas_hw))
        reduce = cells * model.reduce.weight.numel()
        one = torch.zeros(1, WINDOW, WINDOW, config.reduced_channels)
        return FastMaskCost(
            parameters=parameters_without_norms(model),
            body=body,
            neck=levels - body - reduce,
            reduce=reduce,
            objectness=windows * _macs(model.head.scores, one),
            masks=slots * _macs(model.head.masks, one),
        )


def parameters_without_norms(model: nn.Module) -> int:
    """Number of weights and biases, norms left out as the paper counts them."""
    total = sum(p.numel() for p in model.parameters())
    norms = (m for m in model.modules() if isinstance(m, TrainedNorm))
    return total - sum(p.numel() for norm in norms for p in norm.parameters())


def _macs(forward: Callable[[Tensor], object], x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        forward(x)
    return int(counter.get_total_flops()) // 2
