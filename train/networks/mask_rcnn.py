"""Mask R-CNN C4 and its large-separable-convolution speed-up, as one configurable network.

Without a mask branch (`model.mask: false`) it is Faster R-CNN.

    images -> normalize -> ResNet C4 -> [separable] -> features -> RPN -> proposals
                                                       |            |
        +----------------------------------------------+            |
        +-- RoIAlign at the proposals <-----------------------------+ -> subnet -> detections
        +-- RoIAlign at the detections -> subnet -> masks

`MaskRCNN` holds the layers and is what training uses; `losses/mask_rcnn.py` has its losses,
`deploy/mask_rcnn.py` the form that is exported. Sources: Detectron2 mask_rcnn_R_50_C4 at 02b5c4e2,
the LSC paper.

Letters: B images, K RoIs per image, C channels, P RoI cells per side.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..recipes.mask_rcnn import MaskRCNNConfig, MaskRCNNRecipe
from .boxes import anchors_for
from .heads import RPN, BoxPredictor, C5Subnet, LargeSeparableConv, LightSubnet, MaskHead
from .layers import Norm, Normalize
from .picture_edge import every
from .resnet import ResNetC4
from .roi_align import roi_align

STRIDE = 16


class MaskRCNN(nn.Module):
    """The layers, in training form."""

    def __init__(self, recipe: MaskRCNNRecipe) -> None:
        super().__init__()
        config: MaskRCNNConfig = recipe.model
        self.recipe = recipe
        classes = len(recipe.class_names)
        self.backbone = ResNetC4(
            config.stem_channels,
            config.backbone_channels,
            config.blocks,
            stride_in_1x1=config.stride_in_1x1,
            norm=config.norm,
            freeze_at=config.freeze_at,
        )
        head_norm: Norm | None = "batch" if config.head_norm else None
        width = 4 * config.backbone_channels
        self.separable: LargeSeparableConv | None = None
        if config.separable_channels:
            self.separable = LargeSeparableConv(
                width, config.separable_channels, config.separable_kernel, head_norm
            )
            width = config.separable_channels
        anchors_per_cell = len(config.anchor_sizes_px) * len(config.anchor_ratios)
        self.rpn = RPN(width, anchors_per_cell, head_norm)
        self.subnet = (C5Subnet if config.subnet == "c5" else LightSubnet)(config, width)
        self.box_predictor = BoxPredictor(self.subnet.box_features, classes)
        self.mask_head: MaskHead | None = None
        if config.mask:
            self.mask_head = MaskHead(self.subnet.channels, config.mask_channels, classes)
        self.normalize = Normalize(recipe.input)

    def features(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 16, W / 16), the map that RPN and RoIAlign share.

        With `inside` (see `picture_edge`) of the canvas its cells in the picture are those of the
        picture by itself; the others hold anything.
        """
        x = self.backbone(x, inside)
        return x if self.separable is None else self.separable(x, every(inside, STRIDE))

    def anchors(self, map_hw: tuple[int, int]) -> Tensor:
        """(H * W * A, 4) anchors of a feature map."""
        config = self.recipe.model
        return anchors_for(map_hw, STRIDE, config.anchor_sizes_px, config.anchor_ratios)

    def pool(self, features: Tensor, rois: Tensor) -> Tensor:
        """(B, C, h, w) and (B, K, 4) -> (B * K, C, P, P), differentiable."""
        config = self.recipe.model
        return roi_align(features, rois, config.roi_size, 1 / STRIDE, config.sampling_ratio)
