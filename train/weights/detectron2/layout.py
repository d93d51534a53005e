"""Detectron2's names, and the Caffe2 names of the ImageNet files that it starts from.

Source: Detectron2 at 02b5c4e2 (state dict of COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml,
checkpoint/c2_model_loading.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..layout import Layout


def detectron2_name(name: str) -> str:
    """Our name -> Detectron2's, e.g. `rpn.conv.bias` -> `proposal_generator.rpn_head.conv.bias`."""
    prefixes = {
        "rpn.": "proposal_generator.rpn_head.",
        "subnet.": "roi_heads.",
        "box_predictor.": "roi_heads.box_predictor.",
        "mask_head.": "roi_heads.mask_head.",
    }
    for ours, theirs in prefixes.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def pyramid_name(name: str) -> str:
    """The same of a network with a pyramid, e.g. `fpn.output3.bias` -> `backbone.fpn_output3.bias`.

    The RPN's only convolution is `conv`; heads count theirs from 1.
    """
    if name.startswith("backbone."):
        return name.replace("backbone.", "backbone.bottom_up.", 1)
    if name.startswith("fpn."):
        return name.replace("fpn.", "backbone.fpn_", 1)
    if name.startswith(("box_head.", "mask_head.")):
        called = "conv" if name.startswith("box_head.") else "mask_fcn"
        found = re.sub(r"convolutions\.(\d+)", lambda n: f"{called}{int(n[1]) + 1}", name)
        return f"roi_heads.{found}"
    return detectron2_name(name)


def is_pyramid(weights: Mapping[str, Any]) -> bool:
    """Whether a file of Detectron2's is of a network with a pyramid."""
    return any(name.startswith(("backbone.fpn_", "backbone.bottom_up.")) for name in weights)


def caffe2_name(name: str) -> str:
    """Our name -> Caffe2's, e.g. `backbone.res2.0.conv1.norm.bias` -> `res2_0_branch2a_bn_beta`."""
    _, stage, *block, conv, leaf = name.replace(".norm.", ".norm_").split(".")
    leaves = {"weight": "w", "norm_weight": "bn_gamma", "norm_bias": "bn_beta"}
    leaf = leaves.get(leaf) or leaf.replace("norm", "bn")
    if stage == "stem":
        return "conv1_w" if leaf == "w" else f"res_conv1_{leaf}"
    branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}[conv]
    return f"{stage}_{block[0]}_branch{branch}_{leaf}"


DETECTRON2 = Layout(
    "Detectron2 Mask R-CNN C4",
    detectron2_name,
    r"proposal_generator\.anchor_generator\.cell_anchors\.\d+|pixel_mean|pixel_std"
    r"|.+\.num_batches_tracked",
    heads=True,
    statistics_optional=True,
    overrides=("model.sampling_ratio=0",),  # as many samples per cell as a RoI's size asks for
)
PYRAMID = Layout(
    "Detectron2 Mask R-CNN FPN",
    pyramid_name,
    DETECTRON2.dropped,
    heads=True,
    statistics_optional=True,
    settings="the zoo's R50-FPN",
)
CAFFE2 = Layout(
    "Detectron's ImageNet ResNet-50 (Caffe2 names)",
    caffe2_name,
    r"conv1_b|fc1000_\w+|\w+_momentum",
    statistics_optional=True,
)
