"""MMDetection's names of Mask R-CNN and Faster R-CNN on a pyramid.

Source: MMDetection 3.3.0 (state dict of mask-rcnn_r50_fpn_1x_coco).
"""

from __future__ import annotations

import re

from ..layout import Layout
from ..torchvision_layout import torchvision_name

HEADS = {
    "rpn.conv": "rpn_head.rpn_conv",
    "rpn.objectness_logits": "rpn_head.rpn_cls",
    "rpn.anchor_deltas": "rpn_head.rpn_reg",
    "box_predictor.cls_score": "roi_head.bbox_head.fc_cls",
    "box_predictor.bbox_pred": "roi_head.bbox_head.fc_reg",
    "mask_head.deconv": "roi_head.mask_head.upsample",
    "mask_head.predictor": "roi_head.mask_head.conv_logits",
}


def mmdetection_name(name: str) -> str:
    """Our name -> MMDetection's, e.g. `fpn.output3.bias` -> `neck.fpn_convs.1.conv.bias`."""
    layer, _, leaf = name.rpartition(".")  # the pyramid and the heads have no norms
    if name.startswith("backbone."):
        return f"backbone.{torchvision_name(name)}"
    if layer in HEADS:
        return f"{HEADS[layer]}.{leaf}"
    if name.startswith("box_head.fc"):
        return f"roi_head.bbox_head.shared_fcs.{int(layer.removeprefix('box_head.fc')) - 1}.{leaf}"
    level = re.match(r"fpn\.(lateral|output)(\d)\.", name)
    if level:
        blocks = "lateral_convs" if level[1] == "lateral" else "fpn_convs"
        return f"neck.{blocks}.{int(level[2]) - 2}.conv.{name[level.end() :]}"
    branch = "bbox_head.shared_convs" if name.startswith("box_head.") else "mask_head.convs"
    return re.sub(r"^\w+\.convolutions\.(\d+)", rf"roi_head.{branch}.\1.conv", name)


MMDETECTION = Layout(
    "MMDetection Mask R-CNN FPN",
    mmdetection_name,
    r".+\.num_batches_tracked|data_preprocessor\.\w+",
    heads=True,
    settings="mask-rcnn_r50_fpn",
)
