"""Detectron2's names, and the Caffe2 names of the ImageNet files that it starts from.

Source: Detectron2 at 02b5c4e2 (state dict of COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml,
checkpoint/c2_model_loading.py).
"""

from __future__ import annotations

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
CAFFE2 = Layout(
    "Detectron's ImageNet ResNet-50 (Caffe2 names)",
    caffe2_name,
    r"conv1_b|fc1000_\w+|\w+_momentum",
    statistics_optional=True,
)
