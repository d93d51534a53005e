"""torchvision's Mask R-CNN and Faster R-CNN on a feature pyramid, both versions, any classes.

    maskrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn           two linear layers in the box head
    maskrcnn_resnet50_fpn_v2, fasterrcnn_resnet50_fpn_v2     convolutions and batch norm before one

Files from before torchvision 0.13, the published COCO weights of the first version among them,
have shorter names. In all of them the background is the first class; here it is the last one, which
has no box and no mask.

The first version's norms are frozen, with an epsilon that no file holds: 0 in the published COCO
weights and in what began from them, 1e-5 in all else. Norms here have 1e-5, so their scale becomes
w * sqrt((var + 1e-5) / (var + eps)).

Source: torchvision 0.29 models/detection/{mask_rcnn,faster_rcnn,rpn,anchor_utils}.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....runtime.errors import InputError
from ...networks.layers import EPS
from ...recipes.classes import COCO
from ..layout import Layout
from ..torchvision_layout import torchvision_name
from .structure import class_rows

Weights = Mapping[str, Any]

OVERRIDES = (
    "model.stride_in_1x1=false",
    "model.sampling_ratio=2",
    "model.roi_aligned=false",
    "model.level_rule=torchvision",
    "model.anchors_whole_px=true",
    "model.anchor_steps=picture",
    "proposals.min_size_px=0.001",
    "proposals.post_nms_train=2000",
    "detections.min_size_px=0.01",
    "input.train_short_sides_px=[800]",
    "input.channel_order=RGB",
    "input.mean=[123.675,116.28,103.53]",
    "input.std=[58.395,57.12,57.375]",
)
"""What torchvision's constructors say where they are given nothing else."""

PUBLISHED = ("bf2d0c1e", "258fb6c6")
"""First digits of the SHA-256 of the first versions' COCO weights, which their files' names end
with."""

CLASS_LAYERS = (
    *("box_predictor.cls_score", "box_predictor.bbox_pred"),
    "mask_predictor.mask_fcn_logits",
)
"""Below `roi_heads`: rows are classes."""

# COCO's category ids go from 1 to 90; these have no category.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
CATEGORY_IDS = tuple(i for i in range(1, 91) if i not in _UNUSED)
COCO_BY_ID = tuple(
    COCO[CATEGORY_IDS.index(i)] if i in CATEGORY_IDS else f"unused_{i}" for i in range(1, 91)
)
"""Labels of the published weights: ids less one, ten of which nothing has."""


def is_detection(weights: Weights) -> bool:
    """Whether they are a detector's, not a classifier's."""
    return any(name.startswith(("backbone.fpn.", "roi_heads.", "rpn.")) for name in weights)


def detection_layout(file: Path, weights: Weights, *, coco: bool = False) -> Layout:
    """The layout of a file: its version and its spelling show in its names.

    Args:
        file: where the weights are from, for messages.
        weights: torchvision's name -> tensor.
        coco: of the 90 labels that are COCO's ids, only the 80 that have a category.
    """
    name_of = names_of(weights)
    classes = class_rows(weights, name_of)
    labels = CATEGORY_IDS if coco else range(1, classes + 1)
    return Layout(
        f"torchvision {_title(weights)}",
        name_of,
        r".+\.num_batches_tracked",
        heads=True,
        overrides=OVERRIDES,
        settings="torchvision's constructors",
        others="key=value",
        arranged=partial(background_last, file=file, classes=classes, kept=labels),
    )


def norm_of(weights: Weights) -> str:
    """`batch` where the backbone's norms were trained, which count their batches."""
    return "batch" if "backbone.body.bn1.num_batches_tracked" in weights else "frozen"


def _title(weights: Weights) -> str:
    version = " v2" if _is_second(weights) else ""
    has_mask = any(name.startswith("roi_heads.mask") for name in weights)
    return f"{'Mask' if has_mask else 'Faster'} R-CNN FPN{version}"


def _is_second(weights: Weights) -> bool:
    return any(name.startswith("roi_heads.box_head.0.") for name in weights)


def names_of(weights: Weights) -> Callable[[str], str]:
    """Our name -> this file's, e.g. `fpn.output3.bias` -> `backbone.fpn.layer_blocks.1.0.bias`."""
    nested = "" if "backbone.fpn.inner_blocks.0.weight" in weights else ".0"
    numbers = (re.match(r"roi_heads\.box_head\.(\d+)\.0\.", name) for name in weights)
    convolutions = 1 + max((int(match[1][:4]) for match in numbers if match), default=-1)
    return lambda name: _name(name, nested, convolutions)


def _name(name: str, nested: str, convolutions: int) -> str:
    """`nested`: what stands after a convolution that may have a norm, which is its `1`."""
    part, _, rest = name.partition(".")
    if part == "backbone":
        return f"backbone.body.{torchvision_name(name)}"
    if part == "fpn":
        layer, _, leaf = rest.partition(".")
        blocks = "inner_blocks" if layer.startswith("lateral") else "layer_blocks"
        return f"backbone.fpn.{blocks}.{int(layer[-1]) - 2}{_leaf(leaf, nested)}"
    if part == "rpn":
        return "rpn.head." + _rpn_name(rest, nested)
    if part == "box_head":
        return "roi_heads.box_head." + _box_name(rest, convolutions)
    if part == "box_predictor":
        return f"roi_heads.{name}"
    return "roi_heads." + _mask_name(rest, nested)


def _leaf(leaf: str, nested: str) -> str:
    """`weight` -> `.0.weight` or `.weight`, `norm.weight` -> `.1.weight`."""
    return f".1.{leaf.removeprefix('norm.')}" if leaf.startswith("norm.") else f"{nested}.{leaf}"


def _rpn_name(rest: str, nested: str) -> str:
    layer, _, leaf = rest.partition(".")
    if layer == "conv":
        return f"conv{'.0' if nested else ''}{nested}.{leaf}"
    if layer == "more":
        number, _, leaf = leaf.partition(".")
        return f"conv.{int(number) + 1}{nested}.{leaf}"
    theirs = {"objectness_logits": "cls_logits", "anchor_deltas": "bbox_pred"}[layer]
    return f"{theirs}.{leaf}"


def _box_name(rest: str, convolutions: int) -> str:
    """Linear layers are called fc6 and fc7, or have their place among convolutions and ReLUs."""
    if rest.startswith("convolutions."):
        _, number, leaf = rest.split(".", 2)
        return f"{number}{_leaf(leaf, '.0')}"
    layer, _, leaf = rest.partition(".")
    linear = int(layer.removeprefix("fc"))
    place = str(convolutions + 2 * linear - 1) if convolutions else f"fc{linear + 5}"
    return f"{place}.{leaf}"


def _mask_name(rest: str, nested: str) -> str:
    layer, _, leaf = rest.partition(".")
    if layer == "convolutions":
        number, _, leaf = leaf.partition(".")
        if not nested:
            return f"mask_head.mask_fcn{int(number) + 1}.{leaf}"
        return f"mask_head.{number}{_leaf(leaf, nested)}"
    return f"mask_predictor.{'conv5_mask' if layer == 'deconv' else 'mask_fcn_logits'}.{leaf}"


def background_last(
    name: str, value: Tensor, *, file: Path, classes: int, kept: Sequence[int]
) -> Tensor:
    """Rows of classes in our order: those of the `kept` labels, scores with the background last.

    Args:
        name: torchvision's, of any tensor.
        value: the tensor.
        file: where it is from, for the error.
        classes: all that the file has, without the background.
        kept: labels, from 1 on.

    Raises:
        InputError: it has not so many rows.
    """
    layer = name.rpartition(".")[0].rpartition("roi_heads.")[2]
    edges = {"box_predictor.bbox_pred": 4}.get(layer, 1)
    if layer not in CLASS_LAYERS:
        return value
    if not value.ndim or value.shape[0] != edges * (classes + 1):
        raise InputError(
            f"{file}: '{name}' is {tuple(value.shape)}; expected {edges * (classes + 1)} rows of "
            f"{classes} classes and the background. Choose another file."
        )
    labels = [*kept, 0] if layer == "box_predictor.cls_score" else kept
    return value[[edges * label + edge for label in labels for edge in range(edges)]]


def with_norm_eps(weights: Weights, eps: float) -> dict[str, Any]:
    """Weights of norms with `eps` as those of norms with 1e-5; what is no tensor stays as it is."""
    changed = dict(weights)
    for name, variance in weights.items():
        scale_name = f"{name.removesuffix('.running_var')}.weight"
        scale = weights.get(scale_name)
        if not (name.endswith(".running_var") and _same_shape(scale, variance)):
            continue
        var = np.asarray(variance, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # not finite: reported by its name
            wider = np.asarray(scale, np.float64) * np.sqrt((var + EPS) / (var + eps))
        changed[scale_name] = torch.from_numpy(wider.astype(np.float32))
    return changed


def _same_shape(one: Any, other: Any) -> bool:
    both = isinstance(one, Tensor) and isinstance(other, Tensor)
    return both and one.is_floating_point() and one.shape == other.shape


def norm_eps_of(file: Path, weights: Weights, sha256: str, asked: float | None) -> float:
    """The epsilon of a file's norms: known for published files and trained norms, else asked for.

    Raises:
        InputError: nothing tells, or `asked` is not what the file has.
    """
    known: float | None = None
    if norm_of(weights) == "batch":
        known = EPS
    elif sha256.startswith(PUBLISHED):
        known = 0.0
    if known is None and asked is None:
        raise InputError(
            f"{file}: frozen norms without their epsilon; expected --norm-eps 0 for a network that "
            "began from torchvision's COCO weights, or --norm-eps 1e-5 for one that did not. "
            "Add one."
        )
    if known is not None and asked is not None and asked != known:
        raise InputError(
            f"--norm-eps {asked:g}: {file} has norms of {known:g}; expected the same. "
            "Leave it away."
        )
    return known if known is not None else float(asked or 0.0)
