"""The recipe of Mask R-CNN on a feature pyramid as frozen dataclasses.

Defaults are those of Detectron2's Mask R-CNN R50-FPN (configs/Base-RCNN-FPN.yaml at 02b5c4e2)
unless a docstring says otherwise. torchvision's networks (0.29) differ from it in

    model.stride_in_1x1=false        in the 3x3, as in its ImageNet weights
    model.sampling_ratio=2           Detectron2: 0, adaptive
    model.roi_aligned=false          no half pixel
    model.level_rule=torchvision     where a box between two levels goes
    model.anchors_whole_px=true      anchors' edges rounded
    model.anchor_steps=picture       what the coarsest level's anchors are apart
    proposals.min_size_px=0.001      smaller boxes are no proposals
    detections.min_size_px=0.01      nor detections

and the second version also in `rpn_convolutions=2 box_convolutions=4 box_linears=1
head_norm=true`. Both have pixels of RGB from 0 to 1, normalized by mean and deviation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ...runtime.errors import ConfigError
from .mask_rcnn import DetectionConfig, ProposalConfig
from .ranges import (
    Blocks,
    Channels,
    Count,
    Items,
    NotNegative,
    Positive,
    QuarteredChannels,
    Range,
    require_classes,
)
from .sections import InputConfig, SolverConfig

LEVELS = 5


@dataclass(frozen=True)
class MaskRCNNFPNConfig:
    """The network; `mask: false` makes it Faster R-CNN."""

    mask: bool = True
    """Whether it has a mask branch; without one it gives boxes alone."""
    stem_channels: Channels = 64
    """Channels after the 7x7 stem convolution."""
    backbone_channels: QuarteredChannels = 256
    """Output channels of res2; each later stage doubles them, bottlenecks use a quarter."""
    blocks: tuple[Blocks, ...] = (3, 4, 6, 3)
    """Bottleneck blocks of res2 to res5; ResNet-101 has 23 in res4."""
    stride_in_1x1: bool = True
    """True: MSRA weights, the stride sits in the first 1x1; False: torchvision, in the 3x3."""
    norm: Literal["frozen", "batch"] = "frozen"
    """`frozen`: fixed affine of pre-trained statistics; `batch`: trained, for runs from scratch."""
    head_norm: bool = False
    """Batch norm also in the pyramid and in the box and mask heads' convolutions. The RPN has none:
    levels share it, and their statistics differ."""
    freeze_at: Annotated[int, Range(0, 4)] = 2
    """Stages whose weights are not trained: 2 is stem and res2, 0 is none."""
    fpn_channels: Channels = 256
    """Of every level."""
    rpn_convolutions: Annotated[int, Range(1, 8)] = 1
    box_convolutions: Annotated[int, Range(0, 8)] = 0
    """3x3 convolutions before the box head's linear layers."""
    box_linears: Annotated[int, Range(1, 4)] = 2
    box_channels: Channels = 1024
    """Width of the box head's linear layers."""
    box_cells: Annotated[int, Range(1, 64)] = 7
    """RoIAlign cells per side for the box head."""
    mask_convolutions: Annotated[int, Range(0, 8)] = 4
    mask_channels: Channels = 256
    """Width of the mask branch."""
    mask_cells: Annotated[int, Range(1, 64)] = 14
    """RoIAlign cells per side for the mask head, which gives masks of twice as many."""
    sampling_ratio: Annotated[int, Range(0, 16)] = 0
    """RoIAlign samples per cell and axis; 0 is adaptive (Detectron2): ceil(extent / P)."""
    roi_aligned: bool = True
    """Whether RoIAlign shifts boxes by half a pixel, so that cells' centres are where they are."""
    level_rule: Literal["detectron2", "torchvision", "mmdetection"] = "detectron2"
    """A box of side s px is pooled from level floor(4 + log2(s / 224 + 1e-8)) (`detectron2`),
    floor(4 + log2(s / 224) + 1e-6) (`torchvision`) or 2 + floor(log2(s / 56 + 1e-6))
    (`mmdetection`), at least 2 and at most 5."""
    canonical_px: Positive = 224.0
    """Side of the smallest box that is pooled from level 4, 224 in all three."""
    anchor_sizes_px: Annotated[tuple[Positive, ...], Items(1)] = (
        *(32.0, 64.0, 128.0, 256.0, 512.0),
    )
    """Square root of the anchors' areas, one of each level."""
    anchor_ratios: Annotated[tuple[Positive, ...], Items(1)] = (0.5, 1.0, 2.0)
    """Height over width."""
    anchors_whole_px: bool = False
    """Anchors' edges are rounded to whole pixels around a cell's centre (torchvision)."""
    anchor_steps: Literal["stride", "picture"] = "stride"
    """Test time: anchors of the coarsest level are 64 px apart (`stride`), or the padded picture's
    side over its number of cells, floored (`picture`, torchvision): 61 px where 800 are 13."""

    def __post_init__(self) -> None:
        """Reject settings that no network of the family has."""
        if len(self.blocks) != 4:
            raise ConfigError(
                f"model.blocks={list(self.blocks)}: expected four counts (res2, res3, res4, res5)."
            )
        if len(self.anchor_sizes_px) != LEVELS:
            raise ConfigError(
                f"model.anchor_sizes_px={list(self.anchor_sizes_px)}: expected {LEVELS}, one size "
                "of each level (P2 to P6). State five."
            )


@dataclass(frozen=True)
class PyramidProposalConfig(ProposalConfig):
    """From RPN outputs to proposals: the best of each level, NMS within levels, the best of all."""

    pre_nms_train: Count = 2000
    """Of each level."""
    post_nms_train: Count = 1000
    pre_nms_test: Annotated[int, Range(1, 3840)] = 1000
    """Of each level, before NMS at test time; TensorRT's TopK takes no more."""
    min_size_px: NotNegative = 0.0
    """Both sides of a proposal are longer than this."""


@dataclass(frozen=True)
class PyramidDetectionConfig(DetectionConfig):
    """From box head outputs to instances."""

    min_size_px: NotNegative = 0.0
    """Both sides of a detection are longer than this."""


@dataclass(frozen=True)
class MaskRCNNFPNRecipe:
    """Everything that makes a checkpoint of Mask R-CNN or Faster R-CNN on a feature pyramid."""

    name: str
    family: Literal["mask_rcnn_fpn"] = "mask_rcnn_fpn"
    classes: tuple[str, ...] | Literal["coco", "shapes"] = "coco"
    """Class names in label order, or the name of a known list."""
    input: InputConfig = field(default_factory=InputConfig)
    model: MaskRCNNFPNConfig = field(default_factory=MaskRCNNFPNConfig)
    proposals: PyramidProposalConfig = field(default_factory=PyramidProposalConfig)
    detections: PyramidDetectionConfig = field(default_factory=PyramidDetectionConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)

    def __post_init__(self) -> None:
        """Reject what no data set and no canvas of the family can have."""
        require_classes(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The resolved class names."""
        from .classes import resolved  # which loads OpenCV

        return resolved(self.classes)
