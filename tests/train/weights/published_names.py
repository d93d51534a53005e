"""Names of a pyramid's tensors as three libraries publish them, spelled out, and small networks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from maskrt.train.networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from maskrt.train.recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from maskrt.train.recipes.recipe import load_recipe

BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
NORM = ("weight", "bias", "running_mean", "running_var")
NARROW = (
    *("model.stem_channels=4", "model.backbone_channels=16", "model.fpn_channels=8"),
    *("model.box_channels=12", "model.mask_channels=4", "classes=[cat,dog,cow]"),
)
SECOND = (
    *("model.head_norm=true", "model.rpn_convolutions=2", "model.box_convolutions=4"),
    *("model.box_linears=1", "model.mask_channels=8"),
)
"""torchvision's second version; four mask convolutions as wide as the pyramid."""


def narrow(*overrides: str) -> MaskRCNNFPNRecipe:
    """ResNet-50's blocks, so that every name exists, at a sixteenth of its width."""
    recipe = load_recipe("mask_rcnn_r50_fpn", [*NARROW, *overrides])
    assert isinstance(recipe, MaskRCNNFPNRecipe)
    return recipe


def trained(recipe: MaskRCNNFPNRecipe) -> dict[str, Tensor]:
    """A state dict with no two equal tensors, as after training; variances above zero."""
    generator = torch.Generator().manual_seed(5)
    state = MaskRCNNFPN(recipe).state_dict()
    return {k: torch.rand(v.shape, generator=generator) + 0.25 for k, v in state.items()}


def body(prefix: str) -> Iterator[tuple[str, str]]:
    """Our names of the backbone and torchvision's, which MMDetection has too."""
    yield "backbone.stem.conv1.weight", f"{prefix}conv1.weight"
    yield from ((f"backbone.stem.conv1.norm.{leaf}", f"{prefix}bn1.{leaf}") for leaf in NORM)
    for stage, blocks in BLOCKS.items():
        for block in range(blocks):
            ours, theirs = f"backbone.res{stage}.{block}", f"{prefix}layer{stage - 1}.{block}"
            for n in (1, 2, 3):
                yield f"{ours}.conv{n}.weight", f"{theirs}.conv{n}.weight"
                yield from ((f"{ours}.conv{n}.norm.{x}", f"{theirs}.bn{n}.{x}") for x in NORM)
            if block == 0:
                yield f"{ours}.shortcut.weight", f"{theirs}.downsample.0.weight"
                yield from (
                    (f"{ours}.shortcut.norm.{x}", f"{theirs}.downsample.1.{x}") for x in NORM
                )


def leaves(ours: str, theirs: str) -> list[tuple[str, str]]:
    """A layer with a bias."""
    return [(f"{ours}.{leaf}", f"{theirs}.{leaf}") for leaf in ("weight", "bias")]


def normed(ours: str, theirs: str) -> list[tuple[str, str]]:
    """torchvision's convolution with a norm after it."""
    norms = [(f"{ours}.norm.{x}", f"{theirs}.1.{x}") for x in NORM]
    return [(f"{ours}.weight", f"{theirs}.0.weight"), *norms]


def torchvision_first(*, old: bool = False) -> list[tuple[str, str]]:
    """Our names and those of `maskrcnn_resnet50_fpn`; `old`: before torchvision 0.13."""
    nested = "" if old else ".0"
    pairs = [*body("backbone.body.")]
    for level in range(4):
        pairs += leaves(f"fpn.lateral{level + 2}", f"backbone.fpn.inner_blocks.{level}{nested}")
        pairs += leaves(f"fpn.output{level + 2}", f"backbone.fpn.layer_blocks.{level}{nested}")
    pairs += leaves("rpn.conv", "rpn.head.conv" if old else "rpn.head.conv.0.0")
    pairs += leaves("box_head.fc1", "roi_heads.box_head.fc6")
    pairs += leaves("box_head.fc2", "roi_heads.box_head.fc7")
    for n in range(4):
        theirs = f"roi_heads.mask_head.mask_fcn{n + 1}" if old else f"roi_heads.mask_head.{n}.0"
        pairs += leaves(f"mask_head.convolutions.{n}", theirs)
    return pairs + torchvision_rest()


def torchvision_second() -> list[tuple[str, str]]:
    """Our names and those of `maskrcnn_resnet50_fpn_v2`."""
    pairs = [*body("backbone.body.")]
    for level in range(4):
        pairs += normed(f"fpn.lateral{level + 2}", f"backbone.fpn.inner_blocks.{level}")
        pairs += normed(f"fpn.output{level + 2}", f"backbone.fpn.layer_blocks.{level}")
        pairs += normed(f"box_head.convolutions.{level}", f"roi_heads.box_head.{level}")
        pairs += normed(f"mask_head.convolutions.{level}", f"roi_heads.mask_head.{level}")
    pairs += leaves("rpn.conv", "rpn.head.conv.0.0")
    pairs += leaves("rpn.more.0", "rpn.head.conv.1.0")
    pairs += leaves("box_head.fc1", "roi_heads.box_head.5")
    return pairs + torchvision_rest()


def torchvision_rest() -> list[tuple[str, str]]:
    """The last layers, the same in all versions."""
    return [
        *leaves("rpn.objectness_logits", "rpn.head.cls_logits"),
        *leaves("rpn.anchor_deltas", "rpn.head.bbox_pred"),
        *leaves("box_predictor.cls_score", "roi_heads.box_predictor.cls_score"),
        *leaves("box_predictor.bbox_pred", "roi_heads.box_predictor.bbox_pred"),
        *leaves("mask_head.deconv", "roi_heads.mask_predictor.conv5_mask"),
        *leaves("mask_head.predictor", "roi_heads.mask_predictor.mask_fcn_logits"),
    ]


def torchvision_of(state: dict[str, Tensor], pairs: list[tuple[str, str]]) -> dict[str, Tensor]:
    """A state dict as torchvision has it: the background's rows first."""
    named = {theirs: state[ours] for ours, theirs in pairs if ours in state}
    for leaf in ("weight", "bias"):
        scores, boxes, masks = (
            f"roi_heads.{layer}.{leaf}"
            for layer in (
                *("box_predictor.cls_score", "box_predictor.bbox_pred"),
                "mask_predictor.mask_fcn_logits",
            )
        )
        named[scores] = torch.cat((named[scores][-1:], named[scores][:-1]))
        named[boxes] = torch.cat((torch.full_like(named[boxes][:4], 9.0), named[boxes]))
        if masks in named:
            named[masks] = torch.cat((torch.full_like(named[masks][:1], 9.0), named[masks]))
    return named


def counted(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """With what trained norms count."""
    steps = [n.replace("running_var", "num_batches_tracked") for n in named if "running_var" in n]
    return named | {name: torch.tensor(9) for name in steps}


def detectron2() -> list[tuple[str, str]]:
    """Our names and those of Detectron2's mask_rcnn_R_50_FPN."""
    pairs = []
    for ours, _ in body(""):
        pairs.append((ours, ours.replace("backbone.", "backbone.bottom_up.")))
    for level in (2, 3, 4, 5):
        pairs += leaves(f"fpn.lateral{level}", f"backbone.fpn_lateral{level}")
        pairs += leaves(f"fpn.output{level}", f"backbone.fpn_output{level}")
    for layer in ("conv", "objectness_logits", "anchor_deltas"):
        pairs += leaves(f"rpn.{layer}", f"proposal_generator.rpn_head.{layer}")
    for layer in ("box_head.fc1", "box_head.fc2", "mask_head.deconv", "mask_head.predictor"):
        pairs += leaves(layer, f"roi_heads.{layer}")
    for layer in ("cls_score", "bbox_pred"):
        pairs += leaves(f"box_predictor.{layer}", f"roi_heads.box_predictor.{layer}")
    for n in range(4):
        pairs += leaves(f"mask_head.convolutions.{n}", f"roi_heads.mask_head.mask_fcn{n + 1}")
    return pairs


def mmdetection() -> list[tuple[str, str]]:
    """Our names and those of MMDetection's mask-rcnn_r50_fpn."""
    pairs = [*body("backbone.")]
    for level in range(4):
        pairs += leaves(f"fpn.lateral{level + 2}", f"neck.lateral_convs.{level}.conv")
        pairs += leaves(f"fpn.output{level + 2}", f"neck.fpn_convs.{level}.conv")
        pairs += leaves(f"mask_head.convolutions.{level}", f"roi_head.mask_head.convs.{level}.conv")
    pairs += leaves("rpn.conv", "rpn_head.rpn_conv")
    pairs += leaves("rpn.objectness_logits", "rpn_head.rpn_cls")
    pairs += leaves("rpn.anchor_deltas", "rpn_head.rpn_reg")
    pairs += leaves("box_head.fc1", "roi_head.bbox_head.shared_fcs.0")
    pairs += leaves("box_head.fc2", "roi_head.bbox_head.shared_fcs.1")
    pairs += leaves("box_predictor.cls_score", "roi_head.bbox_head.fc_cls")
    pairs += leaves("box_predictor.bbox_pred", "roi_head.bbox_head.fc_reg")
    pairs += leaves("mask_head.deconv", "roi_head.mask_head.upsample")
    return pairs + leaves("mask_head.predictor", "roi_head.mask_head.conv_logits")
