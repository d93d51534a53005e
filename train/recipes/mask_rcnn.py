"""The Mask R-CNN family's recipe as frozen dataclasses.

Defaults are those of Detectron2's Mask R-CNN R50-C4 (configs/Base-RCNN-C4.yaml at 02b5c4e2) unless
a docstring says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ...runtime.errors import ConfigError
from .ranges import (
    MOST_CHANNELS,
    Blocks,
    Channels,
    Count,
    Items,
    Positive,
    QuarteredChannels,
    Range,
    Share,
    require_classes,
)
from .sections import InputConfig, SolverConfig


@dataclass(frozen=True)
class MaskRCNNConfig:
    """The Mask R-CNN C4 family; every row of the LSC paper's Tables I to III is a setting of it."""

    mask: bool = True
    """Whether it has a mask branch; without one it is Faster R-CNN and gives boxes alone."""
    stem_channels: Channels = 64
    """Channels after the 7x7 stem convolution."""
    backbone_channels: QuarteredChannels = 256
    """Output channels of res2; each later stage doubles them, bottlenecks use a quarter."""
    blocks: tuple[Blocks, ...] = (3, 4, 6, 3)
    """Bottleneck blocks of res2, res3, res4 and (subnet c5 only) res5."""
    stride_in_1x1: bool = True
    """True: MSRA weights, the stride sits in the first 1x1; False: torchvision, in the 3x3."""
    norm: Literal["frozen", "batch"] = "frozen"
    """`frozen`: fixed affine of pre-trained statistics; `batch`: trained, for runs from scratch."""
    head_norm: bool = False
    """Batch norm also in the separable block, RPN and light subnet, which runs from scratch need
    (He et al. 2018, Rethinking ImageNet Pre-training, section 3.1)."""
    freeze_at: Annotated[int, Range(0, 4)] = 2
    """Stages whose weights are not trained: 2 is stem and res2, 0 is none."""
    separable_channels: Annotated[int, Range(0, MOST_CHANNELS)] = 0
    """Middle and output channels of the large separable convolution (Table II: always equal);
    0 leaves it out, which is the baseline."""
    separable_kernel: Annotated[int, Range(1, 63)] = 15
    """k of the k x 1 and 1 x k convolutions (odd)."""
    subnet: Literal["c5", "light"] = "c5"
    """Per-RoI trunk: ResNet's res5, or the paper's two 3x3 convolutions."""
    subnet_mid_channels: Channels = 256
    """light only: channels of the first 3x3 convolution (256 in both frameworks)."""
    subnet_channels: Channels = 512
    """light only: Cout of the second 3x3 convolution (512: framework 1, 1024: framework 2)."""
    pooling: Annotated[int, Range(1, 64)] = 7
    """light only: average pooling window and stride on the 14x14 map; 14 is global pooling."""
    mask_channels: Channels = 256
    """Width of the mask branch's deconvolution."""
    roi_size: Annotated[int, Range(1, 64)] = 14
    """RoIAlign output cells per side; an even number for subnet c5, which halves it."""
    sampling_ratio: Annotated[int, Range(0, 16)] = 2
    """RoIAlign samples per cell and axis; 0 is adaptive (Detectron2): ceil(extent / P)."""
    anchor_sizes_px: Annotated[tuple[Positive, ...], Items(1)] = (
        *(32.0, 64.0, 128.0, 256.0, 512.0),
    )
    """Square root of the anchors' areas."""
    anchor_ratios: Annotated[tuple[Positive, ...], Items(1)] = (0.5, 1.0, 2.0)
    """Height over width."""

    def __post_init__(self) -> None:
        """Reject settings that no network of the family has."""
        if self.subnet == "light" and self.roi_size % self.pooling:
            raise ConfigError(
                f"model.pooling={self.pooling}: does not divide model.roi_size={self.roi_size}; "
                "expected 7 or 14 for 14x14 RoIs. Choose a divisor."
            )
        if self.subnet == "c5" and self.roi_size % 2:
            raise ConfigError(
                f"model.roi_size={self.roi_size}: subnet c5 halves it; expected an even number. "
                "Use 14."
            )
        if self.separable_kernel % 2 == 0:
            raise ConfigError(
                f"model.separable_kernel={self.separable_kernel}: must be odd, so that padding "
                "keeps the map's size. Use 15 as the paper does."
            )
        if len(self.blocks) != 4:
            raise ConfigError(
                f"model.blocks={list(self.blocks)}: expected four counts (res2, res3, res4, res5)."
            )


@dataclass(frozen=True)
class ProposalConfig:
    """From RPN outputs to proposals, and the RPN's training targets."""

    pre_nms_train: Count = 12000
    post_nms_train: Count = 2000
    pre_nms_test: Count = 6000
    """Anchors kept before NMS at test time."""
    post_nms_test: Count = 1000
    nms_iou: Share = 0.7
    """A box is suppressed when its IoU with a better one is above this."""
    positive_iou: Share = 0.7
    negative_iou: Share = 0.3
    batch_per_image: Count = 256
    """Anchors sampled per image for the losses."""
    positive_fraction: Share = 0.5

    def __post_init__(self) -> None:
        """Reject thresholds by which an anchor is both."""
        if self.negative_iou > self.positive_iou:
            raise ConfigError(
                f"proposals.negative_iou={self.negative_iou}: expected at most "
                f"proposals.positive_iou={self.positive_iou}. Lower it."
            )


@dataclass(frozen=True)
class DetectionConfig:
    """From box head outputs to instances, and the box head's training targets."""

    score_threshold: Share = 0.05
    """Candidates must score strictly above this."""
    nms_iou: Share = 0.5
    candidates: Count = 1000
    """Best (RoI, class) pairs that enter NMS. Detectron2 takes all above the threshold; pairs
    beyond the best 1000 could only fill the tail of the 100 detections."""
    per_image: Count = 100
    """Detections (slots) per image."""
    positive_iou: Share = 0.5
    batch_per_image: Count = 512
    """RoIs sampled per image for the losses."""
    positive_fraction: Share = 0.25


@dataclass(frozen=True)
class MaskRCNNRecipe:
    """Everything that makes a Mask R-CNN checkpoint."""

    name: str
    family: Literal["mask_rcnn"] = "mask_rcnn"
    classes: tuple[str, ...] | Literal["coco", "shapes"] = "coco"
    """Class names in label order, or the name of a known list."""
    input: InputConfig = field(default_factory=InputConfig)
    model: MaskRCNNConfig = field(default_factory=MaskRCNNConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    detections: DetectionConfig = field(default_factory=DetectionConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)

    def __post_init__(self) -> None:
        """Reject what no data set can have."""
        require_classes(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The resolved class names."""
        from .classes import resolved  # which loads OpenCV

        return resolved(self.classes)
