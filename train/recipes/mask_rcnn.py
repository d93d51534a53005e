"""The Mask R-CNN family's recipe as frozen dataclasses.

Defaults are those of Detectron2's Mask R-CNN R50-C4 (configs/Base-RCNN-C4.yaml at 02b5c4e2) unless
a docstring says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...runtime.errors import ConfigError
from .sections import InputConfig, SolverConfig


@dataclass(frozen=True)
class MaskRCNNConfig:
    """The Mask R-CNN C4 family; every row of the LSC paper's Tables I to III is a setting of it."""

    stem_channels: int = 64
    """Channels after the 7x7 stem convolution."""
    backbone_channels: int = 256
    """Output channels of res2; each later stage doubles them, bottlenecks use a quarter."""
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    """Bottleneck blocks of res2, res3, res4 and (subnet c5 only) res5."""
    stride_in_1x1: bool = True
    """True: MSRA weights, the stride sits in the first 1x1; False: torchvision, in the 3x3."""
    norm: Literal["frozen", "batch"] = "frozen"
    """`frozen`: fixed affine of pre-trained statistics; `batch`: trained, for runs from scratch."""
    head_norm: bool = False
    """Batch norm also in the separable block, RPN and light subnet, which runs from scratch need
    (He et al. 2018, Rethinking ImageNet Pre-training, section 3.1)."""
    freeze_at: int = 2
    """Stages whose weights are not trained: 2 is stem and res2, 0 is none."""
    separable_channels: int = 0
    """Middle and output channels of the large separable convolution (Table II: always equal);
    0 leaves it out, which is the baseline."""
    separable_kernel: int = 15
    """k of the k x 1 and 1 x k convolutions (odd)."""
    subnet: Literal["c5", "light"] = "c5"
    """Per-RoI trunk: ResNet's res5, or the paper's two 3x3 convolutions."""
    subnet_mid_channels: int = 256
    """light only: channels of the first 3x3 convolution (256 in both frameworks)."""
    subnet_channels: int = 512
    """light only: Cout of the second 3x3 convolution (512: framework 1, 1024: framework 2)."""
    pooling: int = 7
    """light only: average pooling window and stride on the 14x14 map; 14 is global pooling."""
    mask_channels: int = 256
    """Width of the mask branch's deconvolution."""
    roi_size: int = 14
    """RoIAlign output cells per side."""
    sampling_ratio: int = 2
    """RoIAlign samples per cell and axis; 0 is adaptive (Detectron2): ceil(extent / P)."""
    anchor_sizes_px: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Square root of the anchors' areas."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width."""

    def __post_init__(self) -> None:
        """Reject settings that no network of the family has."""
        if self.subnet == "light" and (self.pooling < 1 or self.roi_size % self.pooling):
            raise ConfigError(
                f"model.pooling={self.pooling}: does not divide model.roi_size={self.roi_size}; "
                "expected 7 or 14 for 14x14 RoIs. Choose a divisor."
            )
        if self.separable_kernel % 2 == 0:
            raise ConfigError(
                f"model.separable_kernel={self.separable_kernel}: must be odd, so that padding "
                "keeps the map's size. Use 15 as the paper does."
            )
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise ConfigError(
                f"model.blocks={list(self.blocks)}: expected four counts of at least 1 "
                "(res2, res3, res4, res5)."
            )
        if self.sampling_ratio < 0:
            raise ConfigError(
                f"model.sampling_ratio={self.sampling_ratio}: expected samples per cell and axis, "
                "or 0 for adaptive sampling. Use 2."
            )


@dataclass(frozen=True)
class ProposalConfig:
    """From RPN outputs to proposals, and the RPN's training targets."""

    pre_nms_train: int = 12000
    post_nms_train: int = 2000
    pre_nms_test: int = 6000
    """Anchors kept before NMS at test time."""
    post_nms_test: int = 1000
    nms_iou: float = 0.7
    """A box is suppressed when its IoU with a better one is above this."""
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    batch_per_image: int = 256
    """Anchors sampled per image for the losses."""
    positive_fraction: float = 0.5


@dataclass(frozen=True)
class DetectionConfig:
    """From box head outputs to instances, and the box head's training targets."""

    score_threshold: float = 0.05
    """Candidates must score strictly above this."""
    nms_iou: float = 0.5
    candidates: int = 1000
    """Best (RoI, class) pairs that enter NMS. Detectron2 takes all above the threshold; pairs
    beyond the best 1000 could only fill the tail of the 100 detections."""
    per_image: int = 100
    """Detections (slots) per image."""
    positive_iou: float = 0.5
    batch_per_image: int = 512
    """RoIs sampled per image for the losses."""
    positive_fraction: float = 0.25


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
        if len(set(self.class_names)) != len(self.class_names) or not self.class_names:
            raise ConfigError(
                f"classes={list(self.class_names)}: expected at least one name and none twice. "
                "Name the classes in label order."
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The resolved class names."""
        from .classes import CLASS_LISTS

        return CLASS_LISTS[self.classes] if isinstance(self.classes, str) else self.classes
