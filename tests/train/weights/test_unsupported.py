"""Files of other networks are refused by what they are, before a config or an option is asked for.

Names are as the libraries publish them: Detectron2 at 02b5c4e2, torchvision 0.29, MMDetection 3.3.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from maskrt.runtime.errors import InputError
from maskrt.train.weights.import_weights import Source, import_checkpoint

BODY = {
    "detectron2": "backbone.bottom_up.res2.0.conv1.weight",
    "torchvision": "backbone.body.layer1.0.conv1.weight",
    "mmdetection": "backbone.layer1.0.conv1.weight",
}
ONE_STAGE = "a one-stage head"
OTHERS: list[tuple[Source, str, str]] = [
    ("detectron2", "roi_heads.mask_head.point_head.fc1.weight", "a point head"),
    ("detectron2", "roi_heads.mask_point_head.fc1.weight", "a point head"),
    ("mmdetection", "roi_head.point_head.fcs.0.conv.weight", "a point head"),
    ("detectron2", "head.cls_subnet.0.weight", ONE_STAGE),  # RetinaNet
    ("torchvision", "head.classification_head.cls_logits.bias", ONE_STAGE),
    ("torchvision", "head.classification_head.module_list.0.bias", ONE_STAGE),  # SSD
    ("mmdetection", "bbox_head.retina_cls.weight", ONE_STAGE),
    ("mmdetection", "bbox_head.cls_convs.0.gn.weight", ONE_STAGE),  # FCOS
    ("mmdetection", "mask_head.protonet.0.conv.weight", ONE_STAGE),  # YOLACT
    ("mmdetection", "mask_head.conv_mask_list.0.weight", ONE_STAGE),  # SOLO
    ("mmdetection", "mask_head.kernel_convs.0.conv.weight", ONE_STAGE),  # SOLOv2
    ("detectron2", "proposal_generator.fcos_head.cls_tower.0.weight", ONE_STAGE),  # CondInst
    ("detectron2", "model.22.cv2.0.0.conv.weight", ONE_STAGE),  # YOLO
    ("detectron2", "backbone.bottom_up.res3.0.conv2_offset.weight", "deformable convolutions"),
    ("detectron2", "roi_heads.box_predictor.1.cls_score.weight", "a cascade of heads"),
    ("mmdetection", "roi_head.bbox_head.0.fc_cls.weight", "a cascade of heads"),
    ("detectron2", "backbone.net.blocks.0.attn.qkv.weight", "a transformer"),
    ("torchvision", "features.1.0.attn.qkv.weight", "a transformer"),
    ("detectron2", "sem_seg_head.predictor.weight", "a branch for stuff"),
    ("detectron2", "backbone.fpn_lateral2.norm.weight", "group norm"),
    ("torchvision", "roi_heads.keypoint_head.0.weight", "a keypoint branch"),
    ("torchvision", "backbone.body.0.0.weight", "another body than a ResNet"),
    ("mmdetection", "roi_head.mask_iou_head.convs.0.weight", "a head for the masks' IoU"),
    ("mmdetection", "roi_head.grid_head.convs.0.conv.weight", "a grid head"),
]


@pytest.mark.parametrize(("source", "name", "what"), OTHERS, ids=[name for _, name, _ in OTHERS])
def test_another_network_is_named(tmp_path: Path, source: Source, name: str, what: str) -> None:
    file, out = tmp_path / "a.pth", tmp_path / "out.safetensors"
    torch.save({"state_dict": {BODY[source]: torch.zeros(1), name: torch.zeros(1)}}, file)
    with pytest.raises(InputError, match=rf"a network with {what}.*\('{name}'\); expected Mask R"):
        import_checkpoint(file, source, out)
    assert not out.exists()
