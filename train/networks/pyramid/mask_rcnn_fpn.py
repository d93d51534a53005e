"""Mask R-CNN on a feature pyramid, and Faster R-CNN, the same without masks.

    images -> normalize -> ResNet -> FPN -> P2 .. P6 -> RPN -> proposals
                                             |                    |
        +------------------------------------+                    |
        +-- RoIAlign at the proposals, each on its level <--------+ -> box head -> detections
        +-- RoIAlign at the detections, each on its level -> mask head -> masks

`MaskRCNNFPN` holds the layers and is what training uses; `losses/mask_rcnn_fpn.py` has its losses,
`deploy/mask_rcnn_fpn.py` the form that is exported. Sources: Lin et al. 2017; He et al. 2017;
Detectron2 mask_rcnn_R_50_FPN at 02b5c4e2; torchvision 0.29 `maskrcnn_resnet50_fpn` and `_v2`. Where
the two libraries differ, the recipe says which rule it is.

Letters: B images, K RoIs per image, C channels, P RoI cells per side.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ...recipes.mask_rcnn_fpn import MaskRCNNFPNConfig, MaskRCNNFPNRecipe
from ..boxes import anchors_for
from ..heads import RPN, BoxPredictor, MaskHead
from ..layers import Norm, Normalize
from ..resnet import ResNetC5
from .box_head import BoxHead
from .fpn import FPN, POOLED, STRIDES
from .roi_align import level_borders, pyramid_roi_align


class MaskRCNNFPN(nn.Module):
    """The layers, in training form."""

    def __init__(self, recipe: MaskRCNNFPNRecipe) -> None:
        super().__init__()
        config: MaskRCNNFPNConfig = recipe.model
        self.recipe = recipe
        classes = len(recipe.class_names)
        self.backbone = ResNetC5(
            config.stem_channels,
            config.backbone_channels,
            config.blocks,
            stride_in_1x1=config.stride_in_1x1,
            norm=config.norm,
            freeze_at=config.freeze_at,
        )
        head_norm: Norm | None = "batch" if config.head_norm else None
        width = config.fpn_channels
        stages = [config.backbone_channels * 2**n for n in range(4)]
        self.fpn = FPN(stages, width, head_norm)
        self.rpn = RPN(width, len(config.anchor_ratios), None, config.rpn_convolutions)
        self.box_head = BoxHead(
            width,
            config.box_cells,
            convolutions=config.box_convolutions,
            linears=config.box_linears,
            features=config.box_channels,
            norm=head_norm,
        )
        self.box_predictor = BoxPredictor(config.box_channels, classes)
        self.mask_head: MaskHead | None = None
        if config.mask:
            self.mask_head = MaskHead(
                width, config.mask_channels, classes, config.mask_convolutions, head_norm
            )
        self.normalize = Normalize(recipe.input)

    def features(self, x: Tensor, inside: Tensor | None = None) -> list[Tensor]:
        """(B, 3, H, W), multiples of 32 px -> P2 to P6, (B, C, H / 4, W / 4) to (B, C, H / 64).

        With `inside` (see `picture_edge`) of the canvas its cells in the picture are those of the
        picture by itself; the others hold anything.
        """
        return self.fpn(self.backbone.maps(x, inside), inside)

    def anchors(self, map_hws: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The (H * W * A, 4) anchors of each level, maps from fine to coarse."""
        config = self.recipe.model
        return [
            anchors_for(hw, stride, (size,), config.anchor_ratios, whole_px=config.anchors_whole_px)
            for hw, stride, size in zip(map_hws, STRIDES, config.anchor_sizes_px, strict=True)
        ]

    def borders(self) -> tuple[float, ...]:
        """The areas at which boxes change their level, as the recipe's library has them."""
        rule, side_px = self.recipe.model.level_rule, self.recipe.model.canonical_px
        if rule == "torchvision":
            return level_borders((2, 3, 4, 5), 4, side_px, level_eps=1e-6)
        if rule == "mmdetection":
            return level_borders((0, 1, 2, 3), 0, side_px / 4, ratio_eps=1e-6)
        return level_borders((2, 3, 4, 5), 4, side_px, ratio_eps=1e-8)

    def pool(self, maps: Sequence[Tensor], rois: Tensor, cells: int) -> Tensor:
        """P2 .. P6 and boxes (B, K, 4) px -> (B * K, C, cells, cells), differentiable."""
        config = self.recipe.model
        return pyramid_roi_align(
            maps[:POOLED],
            rois,
            cells,
            STRIDES[:POOLED],
            config.sampling_ratio,
            self.borders(),
            aligned=config.roi_aligned,
        )
