"""What Detectron2's settings mean here: taken into the recipe, of one value, or of no matter.

    TAKEN     become keys of our recipe
    FIXED     describe the network itself, which has one value of each: Mask R-CNN C4
    PASSED    of training, of parts that a C4 network does not have, of where files lie

and `pyramid_settings.py` says it of a network with a pyramid.

Anything else, such as the settings of a project beside Detectron2, is refused by its name: what is
not understood may change the network. What a config does not say stays as in the zoo's
mask_rcnn_R_50_C4, whose values are our recipe's.

Source: Detectron2 config/defaults.py and configs/Base-RCNN-C4.yaml at 02b5c4e2.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....runtime.errors import InputError
from ...recipes.mask_rcnn import MaskRCNNRecipe
from ...recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from ...recipes.values import shown, value_of
from .config_file import Config

TAKEN: dict[str, tuple[str, ...]] = {
    "INPUT.FORMAT": ("input.channel_order",),
    "INPUT.MIN_SIZE_TEST": ("input.short_side_px",),
    "INPUT.MAX_SIZE_TEST": ("input.long_side_px",),
    "INPUT.MIN_SIZE_TRAIN": ("input.train_short_sides_px",),
    "MODEL.PIXEL_MEAN": ("input.mean",),
    "MODEL.PIXEL_STD": ("input.std",),
    "MODEL.BACKBONE.FREEZE_AT": ("model.freeze_at",),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": ("model.stem_channels",),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": ("model.backbone_channels",),
    "MODEL.RESNETS.STRIDE_IN_1X1": ("model.stride_in_1x1",),
    "MODEL.RESNETS.DEPTH": ("model.blocks",),
    "MODEL.RESNETS.NORM": ("model.norm",),
    "MODEL.ANCHOR_GENERATOR.SIZES": ("model.anchor_sizes_px",),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": ("model.anchor_ratios",),
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": ("proposals.pre_nms_train",),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": ("proposals.pre_nms_test",),
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": ("proposals.post_nms_train",),
    "MODEL.RPN.POST_NMS_TOPK_TEST": ("proposals.post_nms_test",),
    "MODEL.RPN.NMS_THRESH": ("proposals.nms_iou",),
    "MODEL.RPN.IOU_THRESHOLDS": ("proposals.negative_iou", "proposals.positive_iou"),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": ("proposals.batch_per_image",),
    "MODEL.RPN.POSITIVE_FRACTION": ("proposals.positive_fraction",),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": ("detections.score_threshold",),
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": ("detections.nms_iou",),
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": ("detections.positive_iou",),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": ("detections.batch_per_image",),
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": ("detections.positive_fraction",),
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": ("model.roi_size",),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": ("model.sampling_ratio",),
    "MODEL.ROI_MASK_HEAD.CONV_DIM": ("model.mask_channels",),
    "TEST.DETECTIONS_PER_IMAGE": ("detections.per_image",),
}
"""Detectron2's name -> our keys; a list of values is shared out where there are several keys."""

NUM_CLASSES, TRAIN_SETS = "MODEL.ROI_HEADS.NUM_CLASSES", "DATASETS.TRAIN"
"""Taken too, beside the weights and the names of the classes."""

BLOCKS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
"""Of ResNets of bottlenecks, by depth."""
NORMS = {"FrozenBN": "frozen", "BN": "batch", "SyncBN": "batch"}
"""The same arithmetic when a network is used; they differ in training."""

FIXED: dict[str, Any] = {
    "VERSION": 2,
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.MASK_ON": True,
    "MODEL.KEYPOINT_ON": False,
    "MODEL.LOAD_PROPOSALS": False,
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.RES5_DILATION": 1,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, False, False, False],
    "MODEL.PROPOSAL_GENERATOR.NAME": "RPN",
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0,
    "MODEL.ANCHOR_GENERATOR.NAME": "DefaultAnchorGenerator",
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.RPN.HEAD_NAME": "StandardRPNHead",
    "MODEL.RPN.IN_FEATURES": ["res4"],
    "MODEL.RPN.CONV_DIMS": [-1],
    "MODEL.RPN.BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False,
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": False,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 0,
    "MODEL.ROI_MASK_HEAD.NORM": "",
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": False,
}
"""Another value is another network: a feature pyramid, a cascade, deformable or grouped
convolutions, group norm, unaligned pooling."""
BOTTLENECK = "MODEL.RESNETS.WIDTH_PER_GROUP"
"""A quarter of RES2_OUT_CHANNELS, as in every plain ResNet."""

PASSED_SECTIONS = (
    *("DATASETS.", "DATALOADER.", "SOLVER.", "GLOBAL.", "INPUT.CROP."),
    *("MODEL.FPN.", "MODEL.ROI_BOX_CASCADE_HEAD.", "MODEL.ROI_KEYPOINT_HEAD."),
    *("MODEL.SEM_SEG_HEAD.", "MODEL.PANOPTIC_FPN.", "MODEL.RETINANET."),
    *("TEST.AUG.", "TEST.PRECISE_BN."),
)
PASSED = {
    *("OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK", "VIS_PERIOD", "FLOAT32_PRECISION"),
    *("INPUT.RANDOM_FLIP", "INPUT.MASK_FORMAT", "INPUT.MAX_SIZE_TRAIN"),
    *("INPUT.MIN_SIZE_TRAIN_SAMPLING", "MODEL.DEVICE", "MODEL.WEIGHTS"),
    *("MODEL.ANCHOR_GENERATOR.ANGLES", "MODEL.RESNETS.DEFORM_MODULATED"),
    *("MODEL.RESNETS.DEFORM_NUM_GROUPS", "MODEL.RPN.BOUNDARY_THRESH", "MODEL.RPN.IOU_LABELS"),
    *("MODEL.RPN.BBOX_REG_LOSS_TYPE", "MODEL.RPN.BBOX_REG_LOSS_WEIGHT"),
    *("MODEL.RPN.SMOOTH_L1_BETA", "MODEL.RPN.LOSS_WEIGHT", "MODEL.RPN.IGNORE_THRESHOLD"),
    *("MODEL.ROI_HEADS.IOU_LABELS", "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT"),
    *("MODEL.ROI_HEADS.IGNORE_THRESHOLD", "MODEL.ROI_BOX_HEAD.NAME"),
    *("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT"),
    *("MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", "MODEL.ROI_BOX_HEAD.NUM_FC"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "MODEL.ROI_BOX_HEAD.NUM_CONV", "MODEL.ROI_BOX_HEAD.CONV_DIM"),
    *("MODEL.ROI_BOX_HEAD.NORM", "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES"),
    *("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES"),
    *("MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER", "MODEL.ROI_MASK_HEAD.POOLER_TYPE"),
    *("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO"),
    *("TEST.EXPECTED_RESULTS", "TEST.EVAL_PERIOD", "TEST.KEYPOINT_OKS_SIGMAS"),
}
"""Res5ROIHeads has one pooler, the box head's, and no box head of layers of its own."""


@dataclass(frozen=True)
class Meaning:
    """What the settings mean for one network."""

    network: str
    """Which, and a config of it."""
    recipe: type[MaskRCNNRecipe | MaskRCNNFPNRecipe]
    taken: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, Any]
    passed: Collection[str]
    passed_sections: tuple[str, ...]
    levels: int = 1
    """Maps that anchors are on."""


C4 = Meaning(
    "Mask R-CNN C4, as in mask_rcnn_R_50_C4", MaskRCNNRecipe, TAKEN, FIXED, PASSED, PASSED_SECTIONS
)


def recipe_values(config: Config, meaning: Meaning = C4) -> dict[str, Any]:
    """What a config says of our recipe's keys, e.g. {"input.mean": (103.5, 116.3, 123.7)}.

    Raises:
        InputError: a setting of another network, or of none that Detectron2 knows.
        ConfigError: a value of another type than its key has, or out of its range.
    """
    _check_network(config, meaning)
    values: dict[str, Any] = {}
    for name, keys in meaning.taken.items():
        if name in config.settings and not _drawn_from_a_range(name, config):
            values |= _taken(config, name, keys, meaning)
    return values


def _check_network(config: Config, meaning: Meaning) -> None:
    """That every setting is known and those of the network are this one's."""
    known = {*meaning.taken, *meaning.fixed, *meaning.passed, BOTTLENECK, NUM_CLASSES}
    for name in config.settings:
        if name not in known and not name.startswith(meaning.passed_sections):
            near = difflib.get_close_matches(name[:100], known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "Leave it away if it does not."
            raise InputError(
                f"{config.path}: {shown(name)} found; expected settings that Detectron2 itself "
                f"has, as others may change the network. {hint}"
            )
    found = {BOTTLENECK: 64, **config.settings}
    width = found.get("MODEL.RESNETS.RES2_OUT_CHANNELS", 256)
    fixed = {**meaning.fixed, BOTTLENECK: width // 4 if isinstance(width, int) else 64}
    other = [
        f"{name}={shown(found[name])} (not {shown(value)})"
        for name, value in fixed.items()
        if found.get(name, value) != value
    ]
    if other:
        more = f" and {len(other) - 4} more" if other[4:] else ""
        raise InputError(
            f"{config.path}: {', '.join(other[:4])}{more}; expected {meaning.network}. "
            "Other networks are not imported: choose another file."
        )


def _drawn_from_a_range(name: str, config: Config) -> bool:
    """Whether training drew its sizes between two, which our list of sizes cannot say."""
    sampling = config.settings.get("INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice")
    return name == "INPUT.MIN_SIZE_TRAIN" and sampling != "choice"


def _taken(config: Config, name: str, keys: tuple[str, ...], meaning: Meaning) -> dict[str, Any]:
    """One setting as values of our keys."""
    value, where = _translated(config, name, meaning.levels), config.path
    if "IOU_THRESHOLDS" not in name:
        return {keys[0]: typed(where, name, keys[0], value, meaning.recipe)}
    if not isinstance(value, list) or len(value) != len(keys):
        raise _refused(config, name, f"a list of {len(keys)}")
    pairs = zip(keys, value, strict=True)
    return {key: typed(where, name, key, each, meaning.recipe) for key, each in pairs}


def _translated(config: Config, name: str, levels: int) -> Any:
    """A setting's value in our words."""
    value = config.settings[name]
    if name == "MODEL.RESNETS.DEPTH":
        return _one_of(config, name, BLOCKS)
    if name == "MODEL.RESNETS.NORM":
        return _one_of(config, name, NORMS)
    if name.startswith("MODEL.ANCHOR_GENERATOR."):
        return _anchors(config, name, levels)
    if name == "INPUT.MIN_SIZE_TRAIN" and isinstance(value, int):
        return [value]
    return value


def _anchors(config: Config, name: str, levels: int) -> Any:
    """Sizes and ratios: one list for each map, or a list that is every map's."""
    value = config.settings[name]
    nested = isinstance(value, list) and value and all(isinstance(v, (list, tuple)) for v in value)
    if levels > 1 and name.endswith(".SIZES"):
        if not nested or len(value) != levels or any(len(sizes) != 1 for sizes in value):
            raise _refused(config, name, f"{levels} lists of one size, a level each")
        return [sizes[0] for sizes in value]
    same = nested and len(value) in (1, levels) and all(each == value[0] for each in value)
    return list(value[0]) if same else value


def _one_of(config: Config, name: str, known: dict[Any, Any]) -> Any:
    value = config.settings[name]
    if type(value) not in (int, str) or value not in known:
        raise _refused(config, name, " or ".join(map(str, known)))
    return known[value]


def typed(
    where: Path,
    name: str,
    key: str,
    value: Any,
    recipe: type[MaskRCNNRecipe | MaskRCNNFPNRecipe] = MaskRCNNRecipe,
) -> Any:
    """`value` as the type of our recipe's key "section.key", by the recipe's own reader.

    Raises:
        ConfigError: it is none, or out of its range; the sentence has `where` and Detectron2's
            `name`.
    """
    section, _, field = key.partition(".")
    hints = typing.get_type_hints(typing.get_type_hints(recipe)[section], None, None, True)
    return value_of(hints[field], value, str(where), name)


def _refused(config: Config, name: str, expected: str) -> InputError:
    return InputError(
        f"{config.path}: {name}={shown(config.settings[name])}; expected {expected}. Other "
        "networks are not imported: choose another file."
    )
