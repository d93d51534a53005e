"""What each of Detectron2's settings becomes, and which ones are named in a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskrt.runtime.errors import ConfigError, InputError
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.detectron2.config_file import Config
from maskrt.train.weights.detectron2.settings import TAKEN, recipe_values

# As configs/Base-RCNN-C4.yaml and mask_rcnn_R_50_C4_3x.yaml set them at 02b5c4e2, and the defaults
# of config/defaults.py beside them.
ZOO: dict[str, Any] = {
    "VERSION": 2,
    "INPUT.FORMAT": "BGR",
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
    "INPUT.MIN_SIZE_TRAIN": [640, 672, 704, 736, 768, 800],
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.CROP.ENABLED": False,
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.MASK_ON": True,
    "MODEL.KEYPOINT_ON": False,
    "MODEL.WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.FREEZE_AT": 2,
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, False, False, False],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64, 128, 256, 512]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
    "MODEL.RPN.POSITIVE_FRACTION": 0.5,
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
    "MODEL.ROI_HEADS.NUM_CLASSES": 80,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 256,
    "MODEL.RETINANET.NUM_CLASSES": 80,
    "SOLVER.BASE_LR": 0.02,
    "TEST.DETECTIONS_PER_IMAGE": 100,
}


def values_of(**changed: Any) -> dict[str, Any]:
    """`recipe_values` of a config that says this alone; __ stands for a dot."""
    settings = {name.replace("__", "."): value for name, value in changed.items()}
    return recipe_values(Config(Path("c.yaml"), settings, {}))


def test_the_zoos_settings_are_the_shipped_recipes() -> None:
    recipe = load_recipe("mask_rcnn_r50_c4", ["model.sampling_ratio=0"])
    values = recipe_values(Config(Path("zoo.yaml"), ZOO, {}))
    assert len(values) == sum(map(len, TAKEN.values())) == 32
    for key, value in values.items():
        section, _, field = key.partition(".")
        assert getattr(getattr(recipe, section), field) == value, key


def test_nothing_said_changes_nothing() -> None:
    assert values_of() == {}
    assert values_of(SOLVER__MAX_ITER=9, DATASETS__TRAIN=["mine"], MODEL__WEIGHTS="w.pkl") == {}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("INPUT__FORMAT", "RGB", {"input.channel_order": "RGB"}),
        ("INPUT__MIN_SIZE_TRAIN", 480, {"input.train_short_sides_px": (480,)}),
        ("MODEL__PIXEL_STD", [57, 58, 59.5], {"input.std": (57.0, 58.0, 59.5)}),
        ("MODEL__ANCHOR_GENERATOR__SIZES", [[16, 99.5]], {"model.anchor_sizes_px": (16.0, 99.5)}),
        ("MODEL__ANCHOR_GENERATOR__SIZES", [16, 99.5], {"model.anchor_sizes_px": (16.0, 99.5)}),
        ("MODEL__ANCHOR_GENERATOR__ASPECT_RATIOS", [(1, 3)], {"model.anchor_ratios": (1.0, 3.0)}),
        ("MODEL__RESNETS__DEPTH", 101, {"model.blocks": (3, 4, 23, 3)}),
        ("MODEL__RESNETS__NORM", "SyncBN", {"model.norm": "batch"}),
        ("MODEL__ROI_BOX_HEAD__POOLER_SAMPLING_RATIO", 2, {"model.sampling_ratio": 2}),
        (
            "MODEL__RPN__IOU_THRESHOLDS",
            [0.2, 0.6],
            {"proposals.negative_iou": 0.2, "proposals.positive_iou": 0.6},
        ),
    ],
)
def test_a_setting_becomes_a_key(name: str, value: Any, expected: dict[str, Any]) -> None:
    assert values_of(**{name: value}) == expected


def test_a_narrow_network_says_its_bottleneck_too() -> None:
    widths = {"MODEL__RESNETS__RES2_OUT_CHANNELS": 128, "MODEL__RESNETS__WIDTH_PER_GROUP": 32}
    assert values_of(**widths) == {"model.backbone_channels": 128}
    with pytest.raises(InputError, match=r"MODEL\.RESNETS\.WIDTH_PER_GROUP=64 \(not 32\)"):
        values_of(MODEL__RESNETS__RES2_OUT_CHANNELS=128)


def test_training_sizes_drawn_from_a_range_stay_the_recipes() -> None:
    drawn = {"INPUT__MIN_SIZE_TRAIN": [640, 800], "INPUT__MIN_SIZE_TRAIN_SAMPLING": "range"}
    assert values_of(**drawn) == {}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "MODEL__PIXEL_MEAN",
            [float("nan"), 1, 2],
            r"PIXEL_MEAN=\[nan, 1, 2\]; expected a list of 3",
        ),
        ("MODEL__PIXEL_MEAN", [1, 2], r"PIXEL_MEAN=\[1, 2\]; expected a list of 3"),
        ("MODEL__PIXEL_MEAN", "grey", "PIXEL_MEAN='grey'; expected a list of 3"),
        ("MODEL__PIXEL_STD", [1, 0, 1], r"PIXEL_STD=\[1, 0, 1\].* above 0"),
        ("INPUT__FORMAT", "L", "INPUT.FORMAT='L'; expected 'RGB' or 'BGR'"),
        ("INPUT__MIN_SIZE_TEST", 0, "INPUT.MIN_SIZE_TEST=0; expected a whole number from 1"),
        ("INPUT__MAX_SIZE_TEST", "many", "INPUT.MAX_SIZE_TEST='many'; expected a whole number"),
        ("INPUT__MAX_SIZE_TEST", True, "INPUT.MAX_SIZE_TEST=True; expected a whole number"),
        (
            "MODEL__ANCHOR_GENERATOR__SIZES",
            [[32], [64]],
            r"SIZES=\[\[32\], \[64\]\]; expected a list",
        ),
        ("MODEL__ANCHOR_GENERATOR__SIZES", [[]], "SIZES=.*with at least 1"),
        ("MODEL__ROI_HEADS__SCORE_THRESH_TEST", 1.5, "SCORE_THRESH_TEST=1.5; .* from 0 to 1"),
        ("TEST__DETECTIONS_PER_IMAGE", -1, "DETECTIONS_PER_IMAGE=-1; expected a whole number"),
    ],
)
def test_a_wrong_value_is_named_as_detectron2_names_it(
    name: str, value: Any, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^c\.yaml: .*{sentence}"):
        values_of(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MODEL__RESNETS__DEPTH", 18, "DEPTH=18; expected 50 or 101 or 152"),
        ("MODEL__RESNETS__DEPTH", [50], r"DEPTH=\[50\]; expected 50 or"),
        ("MODEL__RESNETS__NORM", "GN", "NORM='GN'; expected FrozenBN or BN or SyncBN"),
        ("MODEL__RESNETS__NORM", {"GN"}, "NORM=.*; expected FrozenBN"),
        ("MODEL__RPN__IOU_THRESHOLDS", [0.5], r"IOU_THRESHOLDS=\[0.5\]; expected a list of 2"),
        ("MODEL__ROI_BOX_HEAD__POOLER_TYPE", "ROIAlign", r"='ROIAlign' \(not 'ROIAlignV2'\)"),
        ("MODEL__MASK_ON", False, r"MASK_ON=False \(not True\)"),
        ("VERSION", 1, r"VERSION=1 \(not 2\)"),
        ("MODEL__POINT_HEAD__NUM_FC", 3, "'MODEL.POINT_HEAD.NUM_FC' found; expected settings that"),
        ("MODEL__PIXEL_MEANS", [1, 2, 3], "Did you mean MODEL.PIXEL_MEAN?"),
        ("model___target_", "detectron2.modeling.GeneralizedRCNN", "'model._target_' found"),
        ("MODEL", 3, "'MODEL' found"),
    ],
)
def test_another_network_is_refused_by_the_settings_name(
    name: str, value: Any, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        values_of(**{name: value})


def test_a_feature_pyramid_with_a_cascade_is_named_as_a_whole() -> None:
    settings = {
        "MODEL__BACKBONE__NAME": "build_resnet_fpn_backbone",
        "MODEL__RESNETS__OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL__RESNETS__DEFORM_ON_PER_STAGE": [False, True, True, True],
        "MODEL__RPN__IN_FEATURES": ["p2", "p3"],
        "MODEL__ROI_HEADS__NAME": "CascadeROIHeads",
        "MODEL__ROI_MASK_HEAD__NORM": "GN",
        "MODEL__FPN__NORM": "GN",
    }
    with pytest.raises(InputError) as caught:
        values_of(**settings)
    text = str(caught.value)
    assert "MODEL.BACKBONE.NAME='build_resnet_fpn_backbone' (not 'build_resnet_backbone')" in text
    assert "MODEL.RESNETS.DEFORM_ON_PER_STAGE" in text
    assert "and 2 more; expected Mask R-CNN C4" in text
