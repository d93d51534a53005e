"""What Detectron2's settings mean for a network with a pyramid, where it differs from C4.

What a config does not say stays as in the zoo's mask_rcnn_R_50_FPN.

Source: Detectron2 config/defaults.py and configs/Base-RCNN-FPN.yaml at 02b5c4e2.
"""

from __future__ import annotations

from typing import Any

from ....runtime.errors import InputError
from ...recipes.mask_rcnn_fpn import LEVELS, MaskRCNNFPNRecipe
from ...recipes.values import shown
from .config_file import Config
from .settings import C4, Meaning, recipe_values

_BOX, _MASK = "MODEL.ROI_BOX_HEAD", "MODEL.ROI_MASK_HEAD"
_STAGES, _MAPS = ["res2", "res3", "res4", "res5"], ["p2", "p3", "p4", "p5", "p6"]

TAKEN = {
    **C4.taken,
    "MODEL.MASK_ON": ("model.mask",),
    "MODEL.FPN.OUT_CHANNELS": ("model.fpn_channels",),
    f"{_BOX}.POOLER_RESOLUTION": ("model.box_cells",),
    f"{_BOX}.NUM_CONV": ("model.box_convolutions",),
    f"{_BOX}.NUM_FC": ("model.box_linears",),
    f"{_BOX}.FC_DIM": ("model.box_channels",),
    f"{_MASK}.POOLER_RESOLUTION": ("model.mask_cells",),
    f"{_MASK}.NUM_CONV": ("model.mask_convolutions",),
}
FIXED = {k: v for k, v in C4.fixed.items() if k not in TAKEN} | {
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": _STAGES,
    "MODEL.FPN.IN_FEATURES": _STAGES,
    "MODEL.FPN.NORM": "",
    "MODEL.FPN.FUSE_TYPE": "sum",
    "MODEL.RPN.IN_FEATURES": _MAPS,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": _MAPS[:4],
    f"{_BOX}.NAME": "FastRCNNConvFCHead",
    f"{_BOX}.NORM": "",
    f"{_MASK}.POOLER_TYPE": "ROIAlignV2",
}
SAMPLES = (f"{_BOX}.POOLER_SAMPLING_RATIO", f"{_MASK}.POOLER_SAMPLING_RATIO")
"""Of both branches, which here have one number of samples."""

FPN = Meaning(
    "Mask R-CNN FPN or Faster R-CNN FPN, as in mask_rcnn_R_50_FPN",
    MaskRCNNFPNRecipe,
    TAKEN,
    FIXED,
    {*C4.passed, SAMPLES[1]} - {*TAKEN, *FIXED},
    tuple(section for section in C4.passed_sections if section != "MODEL.FPN."),
    LEVELS,
)


def pyramid_values(config: Config) -> dict[str, Any]:
    """What a config says of the keys of a recipe with a pyramid; errors as `recipe_values`."""
    values = recipe_values(config, FPN)
    box, mask = (config.settings.get(name, 0) for name in SAMPLES)
    if box != mask and config.settings.get("MODEL.MASK_ON", True):
        raise InputError(
            f"{config.path}: {SAMPLES[0]}={shown(box)} and {SAMPLES[1]}={shown(mask)}; expected "
            "the same of both. Such networks are not imported: choose another file."
        )
    return values
