"""Networks that are not imported, known by their tensors' names: each is refused by what it is.

Sources: state dicts of Detectron2 at 02b5c4e2, torchvision 0.29 and MMDetection 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ...runtime.errors import InputError

OTHERS = {
    r".*(conv2_offset|conv2\.offset|conv_offset)\..*": "deformable convolutions",
    r".*keypoint_(head|predictor)\..*": "a keypoint branch",
    r".*(pos_embed|\.attn\.|attention|encoder\.layers?\.).*": "a transformer (ViT, Swin, DETR)",
    r".*(box_predictor|box_head|bbox_head|mask_head)\.[0-9]+\.(cls_score|fc_cls|fc[0-9]"
    r"|shared_fcs|fc_reg|bbox_pred|convs)\b.*": "a cascade of heads",
    r".*(sem_seg_head|semantic_head|panoptic).*": "a branch for stuff (panoptic segmentation)",
    r".*(point_head|mask_point_head)\..*": "a point head (PointRend)",
    r".*(mask_?iou_head)\..*": "a head for the masks' IoU (Mask Scoring R-CNN)",
    r".*grid_head\..*": "a grid head (Grid R-CNN)",
    r"(head\.(?!weight$|bias$)|bbox_head\.|mask_head\.|(proposal_generator\.)?fcos_head\.|model\.[0-9]+\.)"
    r".*": "a one-stage head (RetinaNet, FCOS, SSD, YOLO, YOLACT, SOLO)",
    r"backbone\.(body\.[0-9]+|features)\..*": "another body than a ResNet",
    r".*\.gn[0-9]?\..*": "group norm",
}
"""Pattern of names -> what a network with such tensors has."""

NORMS = r"(?P<layer>.*(fpn_lateral\d|fpn_output\d|(lateral|fpn)_convs\.\d)\.(norm|bn))\.weight"


def require_supported(file: Path, names: Iterable[str]) -> None:
    """InputError where `names` are of a network that no recipe here has."""
    found = sorted(names)
    for pattern, what in OTHERS.items():
        example = next((name for name in found if re.fullmatch(pattern, name)), None)
        if example is not None:
            raise _refusal(file, what, example)
    there = set(found)
    for name in found:
        # batch norm has running statistics; group norm is named like it in the pyramid
        match = re.fullmatch(NORMS, name)
        if match and f"{match['layer']}.running_mean" not in there:
            raise _refusal(file, "group norm", name)


def _refusal(file: Path, what: str, example: str) -> InputError:
    return InputError(
        f"{file}: a network with {what} ('{example[:200]}'); expected Mask R-CNN or Faster R-CNN "
        "on a ResNet, without. Such networks are not imported: choose another file."
    )
