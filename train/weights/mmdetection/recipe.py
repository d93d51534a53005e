"""The recipe of an MMDetection checkpoint, out of its config's text.

The two styles of its ResNet have the same names and need other pixels and strides: `caffe` has BGR
less its mean, stride in the first 1x1; `pytorch` RGB by mean and deviation, stride in the 3x3. So
without a config nothing is imported.

Source: MMDetection 3.3.0 configs/_base_/models/mask-rcnn_r50_fpn.py and its coders and assigners.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....runtime.errors import InputError
from ...recipes.values import shown
from .config_text import settings_of

RPN, ROI = "model.rpn_head", "model.roi_head"
CLASS_KEYS = ("CLASSES", "classes")

FIXED: dict[str, tuple[Any, ...]] = {
    "model.type": ("MaskRCNN", "FasterRCNN"),
    "model.backbone.type": ("ResNet",),
    "model.backbone.style": ("caffe", "pytorch"),
    "model.backbone.norm_cfg.type": ("BN", "SyncBN"),
    "model.backbone.dcn.type": (),
    "model.backbone.plugins": (None,),
    "model.neck.type": ("FPN",),
    "model.neck.num_outs": (5,),
    "model.neck.add_extra_convs": (False,),
    "model.neck.norm_cfg.type": (),
    f"{RPN}.type": ("RPNHead",),
    f"{RPN}.num_convs": (1,),
    f"{RPN}.anchor_generator.type": ("AnchorGenerator",),
    f"{RPN}.anchor_generator.strides": ([4, 8, 16, 32, 64],),
    f"{RPN}.anchor_generator.center_offset": (0, 0.0),
    f"{RPN}.bbox_coder.type": ("DeltaXYWHBBoxCoder",),
    f"{RPN}.bbox_coder.target_stds": ([1.0, 1.0, 1.0, 1.0],),
    f"{RPN}.loss_cls.use_sigmoid": (True,),
    f"{ROI}.type": ("StandardRoIHead",),
    f"{ROI}.bbox_roi_extractor.type": ("SingleRoIExtractor",),
    f"{ROI}.bbox_roi_extractor.finest_scale": (56,),
    f"{ROI}.bbox_roi_extractor.roi_layer.type": ("RoIAlign",),
    f"{ROI}.bbox_roi_extractor.roi_layer.aligned": (True,),
    f"{ROI}.bbox_head.type": ("Shared2FCBBoxHead",),
    f"{ROI}.bbox_head.bbox_coder.target_stds": ([0.1, 0.1, 0.2, 0.2],),
    f"{ROI}.bbox_head.reg_class_agnostic": (False,),
    f"{ROI}.bbox_head.loss_cls.use_sigmoid": (False,),
    f"{ROI}.mask_head.type": ("FCNMaskHead",),
    f"{ROI}.mask_head.class_agnostic": (False,),
    "model.test_cfg.rpn.nms.type": ("nms",),
    "model.test_cfg.rcnn.nms.type": ("nms",),
}
"""Another value, where the config has the key, is another network or another rule."""

TAKEN = {
    f"{RPN}.anchor_generator.ratios": "model.anchor_ratios",
    f"{ROI}.bbox_roi_extractor.roi_layer.output_size": "model.box_cells",
    f"{ROI}.bbox_roi_extractor.roi_layer.sampling_ratio": "model.sampling_ratio",
    f"{ROI}.mask_roi_extractor.roi_layer.output_size": "model.mask_cells",
    "model.test_cfg.rpn.nms_pre": "proposals.pre_nms_test",
    "model.test_cfg.rpn.max_per_img": "proposals.post_nms_test",
    "model.test_cfg.rpn.nms.iou_threshold": "proposals.nms_iou",
    "model.test_cfg.rpn.min_bbox_size": "proposals.min_size_px",
    "model.test_cfg.rcnn.score_thr": "detections.score_threshold",
    "model.test_cfg.rcnn.nms.iou_threshold": "detections.nms_iou",
    "model.test_cfg.rcnn.max_per_img": "detections.per_image",
}


def config_of(file: Path, meta: Any, config: Path | None) -> dict[str, Any]:
    """The settings of `config`, else of the text that the checkpoint's `meta` holds.

    Raises:
        InputError: neither is there, or is not readable.
    """
    if config is not None:
        try:
            return settings_of(config.read_text(encoding="utf-8"), str(config))
        except (OSError, UnicodeDecodeError) as err:
            raise InputError(
                f"{config}: could not be read ({err}); expected the config that training wrote. "
                "Name it."
            ) from err
    texts = [meta.get(key) for key in ("cfg", "config")] if isinstance(meta, dict) else []
    for text in texts:
        if isinstance(text, str) and "\n" in text:  # not the name of a file
            return settings_of(text, f"{file} (config)")
    raise InputError(
        f"{file}: holds no config, and its style (caffe or pytorch) is not in the weights; "
        "expected --config CONFIG.py, the one that training wrote into its work folder. Add it."
    )


def overrides_of(settings: Mapping[str, Any], where: str) -> list[str]:
    """`key=value` each of our recipe, as the config says.

    Raises:
        InputError: a setting of another network.
    """
    for key, right in FIXED.items():
        if settings.get(key) is not None and settings[key] not in right:
            expected = " or ".join(map(str, right)) or "none"
            raise InputError(
                f"{where}: {key}={shown(settings[key])}; expected {expected}. Other networks are "
                "not imported: choose another file."
            )
    values: dict[str, Any] = {
        ours: settings[theirs] for theirs, ours in TAKEN.items() if theirs in settings
    }
    values |= _pixels(settings, where) | _sizes(settings) | _anchors(settings, where)
    values["model.stride_in_1x1"] = settings.get("model.backbone.style") == "caffe"
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def class_names_in(meta: Any) -> tuple[str, ...] | None:
    """Names that a checkpoint's `meta` holds; None without any."""
    held = meta if isinstance(meta, dict) else {}
    for place in (held.get("dataset_meta"), held):
        for key in CLASS_KEYS:
            names = place.get(key) if isinstance(place, dict) else None
            if isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names):
                return tuple(names)
    return None


def _pixels(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Mean, deviation and order: of the preprocessor, or of `img_norm_cfg` before 3.0."""
    for place, order in (("model.data_preprocessor", "bgr_to_rgb"), ("img_norm_cfg", "to_rgb")):
        if f"{place}.mean" in settings and f"{place}.std" in settings:
            rgb = settings.get(f"{place}.{order}", order == "to_rgb")
            return {
                "input.channel_order": "RGB" if rgb else "BGR",
                "input.mean": settings[f"{place}.mean"],
                "input.std": settings[f"{place}.std"],
            }
    raise InputError(
        f"{where}: no mean and std found; expected model.data_preprocessor or img_norm_cfg. "
        "Name the resolved config by --config."
    )


def _sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the test pipeline's Resize, where there is one."""
    steps = settings.get("test_pipeline")
    for step in steps if isinstance(steps, list) else []:
        scale = step.get("scale") if isinstance(step, dict) else None
        if isinstance(scale, list) and len(scale) == 2 and all(type(v) is int for v in scale):
            short, long = sorted(scale)
            canvas = [-(-side // 32) * 32 for side in (short, long)]
            return {
                "input.short_side_px": short,
                "input.long_side_px": long,
                "input.canvas_hw": canvas,
            }
    return {}


def _anchors(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """One scale times each level's stride."""
    scales = settings.get(f"{RPN}.anchor_generator.scales", [8])
    if isinstance(scales, list) and len(scales) == 1 and type(scales[0]) in (int, float):
        return {"model.anchor_sizes_px": [scales[0] * stride for stride in (4, 8, 16, 32, 64)]}
    raise InputError(
        f"{where}: {RPN}.anchor_generator.scales={shown(scales)}; expected one scale. "
        "Other networks are not imported: choose another file."
    )
