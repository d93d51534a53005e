"""Other people's trained weights, as checkpoints.

    model_final_*.pkl, .pth   Detectron2 Mask R-CNN R50-C4: every tensor
    R-50.pkl                  Detectron's ImageNet ResNet-50 (Caffe2 names): backbone and res5
    resnet50-*.pth            torchvision's ImageNet ResNet-50: backbone and res5

The recipe is always `mask_rcnn_r50_c4`, changed where the weights expect other pictures or strides.
A tensor that is missing, of another shape, not finite or left over is an error: half a network is
worse than none. Files are read by `restricted_pickle`, so nothing in them is run.

A Detectron2 file with other than 80 classes gets the names class_0, class_1, ..., for it holds
none; its owner writes them into the YAML beside the checkpoint.

Names: Detectron2 at 02b5c4e2 (state dict of COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml,
checkpoint/c2_model_loading.py, tools/convert-torchvision-to-d2.py); torchvision models/resnet.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...runtime.errors import InputError
from ...runtime.files import require_file
from ..networks.mask_rcnn import MaskRCNN
from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.recipe import load_recipe
from .checkpoint import require_suffix, save_checkpoint
from .fastmask_caffe import import_caffe
from .restricted_pickle import read_pickle, read_torch

Source = Literal["detectron2", "torchvision", "caffe"]

RECIPE = "mask_rcnn_r50_c4"
CLS_SCORE = "roi_heads.box_predictor.cls_score.weight"
TORCHVISION_RECIPE = (
    "model.stride_in_1x1=false",
    "input.channel_order=RGB",
    "input.mean=[123.675,116.28,103.53]",
    "input.std=[58.395,57.12,57.375]",
)
# as many samples per cell as a RoI's size asks for
DETECTRON2_RECIPE = ("model.sampling_ratio=0",)


@dataclass(frozen=True)
class Layout:
    """How one project names and shares out the tensors."""

    title: str
    name_of: Callable[[str], str]
    """Our name -> the project's."""
    dropped: str
    """Pattern of the project's names that hold nothing for us."""
    heads: bool = False
    """Whether the heads come too; else only `backbone` and res5."""
    statistics_optional: bool = False
    """Whether a file may leave all running means and variances out, meaning 0 and 1."""
    overrides: tuple[str, ...] = ()
    """What the weights change in the recipe."""


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


def torchvision_name(name: str) -> str:
    """Our name -> torchvision's, e.g. `backbone.res2.0.conv1.norm.bias` -> `layer1.0.bn1.bias`."""
    name = name.removeprefix("backbone.stem.")
    name = re.sub(r"^\w+\.res(\d)", lambda found: f"layer{int(found[1]) - 1}", name)
    name = re.sub(r"conv(\d)\.norm", r"bn\1", name)
    name = name.replace("shortcut.norm", "downsample.1")
    return name.replace("shortcut", "downsample.0")


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
    "Detectron2 Mask R-CNN R50-C4",
    detectron2_name,
    r"proposal_generator\.anchor_generator\.cell_anchors\.\d+|pixel_mean|pixel_std",
    heads=True,
    statistics_optional=True,
    overrides=DETECTRON2_RECIPE,
)
CAFFE2 = Layout(
    "Detectron's ImageNet ResNet-50 (Caffe2 names)",
    caffe2_name,
    r"conv1_b|fc1000_\w+|\w+_momentum",
    statistics_optional=True,
)
TORCHVISION = Layout(
    "torchvision's ImageNet ResNet-50",
    torchvision_name,
    r"fc\.(weight|bias)|.+\.num_batches_tracked",
    overrides=TORCHVISION_RECIPE,
)


def import_checkpoint(file: Path, source: Source, out: Path) -> str:
    """Turn published weights into a checkpoint.

    Args:
        file: `.pkl` (numpy arrays), `.pth` (torch) or `.caffemodel`.
        source: whose names it uses; `detectron2` includes Detectron's ImageNet files, `caffe` is
            FastMask's own weights (import_fastmask.py).
        out: the `.safetensors` to write, its recipe `.yaml` beside it.

    Returns:
        One line on what was taken and what to know about it.

    Raises:
        InputError: the file cannot be read, asks to run something, or is not exactly this network.
    """
    require_suffix(out)
    if source == "caffe":
        return import_caffe(file, out)
    weights = read_weights(file)
    layout = layout_of(source, weights)
    recipe = load_recipe(RECIPE, layout.overrides)
    assert isinstance(recipe, MaskRCNNRecipe), "the shipped recipe is of this family"
    if layout.heads:
        recipe = dataclasses.replace(recipe, classes=_classes(weights))
    model, taken = model_from(file, weights, layout, recipe)
    save_checkpoint(out, model)
    return _report(layout, recipe, taken)


def read_weights(file: Path) -> dict[str, Any]:
    """Name -> array or tensor, out of the dict that training tools wrap around them.

    Raises:
        InputError: no such file, not readable, or no dict of names.
    """
    require_file(file, "trained weights", (".pkl", ".pth", ".pt"))
    content = read_pickle(file) if file.suffix.lower() == ".pkl" else read_torch(file)
    for key in ("model", "state_dict", "blobs"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(k, str) for k in content):
        raise InputError(
            f"{file}: holds no named tensors; expected a state dict. Is it a file of weights?"
        )
    return dict(content)


def layout_of(source: Source, weights: Mapping[str, Any]) -> Layout:
    """The layout of a file, Caffe2's names recognized by its first convolution's."""
    if source == "torchvision":
        return TORCHVISION
    return CAFFE2 if "conv1_w" in weights else DETECTRON2


def model_from(
    file: Path, weights: Mapping[str, Any], layout: Layout, recipe: MaskRCNNRecipe
) -> tuple[MaskRCNN, dict[str, Tensor]]:
    """The recipe's network with `weights`; heads that the layout does not have are seeded as ever.

    Args:
        file: where the weights are from, for messages.
        weights: the project's name -> array or tensor of floats.
        layout: whose names these are.
        recipe: a Mask R-CNN C4 with subnet c5; its widths need not be ResNet-50's.

    Returns:
        The network, and the tensors it was given by our names, float32.

    Raises:
        InputError: a tensor is missing, unknown, of another shape or type, or not finite.
    """
    torch.manual_seed(recipe.solver.seed)
    model = MaskRCNN(recipe)
    expected = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if layout.heads or name.startswith(("backbone.", "subnet.res5."))
    }
    given = _complete({_spelled(k): v for k, v in weights.items()}, layout, expected)
    names = {name: layout.name_of(name) for name in expected}
    _check_names(file, set(names.values()), set(given), layout)
    taken = {
        ours: _tensor(file, theirs, given[theirs], expected[ours]) for ours, theirs in names.items()
    }
    model.load_state_dict(taken, strict=layout.heads)
    return model, taken


def _spelled(name: str) -> str:
    """Caffe2's norm tensors have long and short names; the long ones."""
    short = {"s": "gamma", "b": "beta", "rm": "running_mean", "riv": "running_var"}
    return re.sub(r"_bn_(s|b|rm|riv)$", lambda found: f"_bn_{short[found[1]]}", name)


def _complete(
    weights: dict[str, Any], layout: Layout, expected: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Without what is dropped; with the statistics that early files leave out, where all are."""
    kept = {k: v for k, v in weights.items() if not re.fullmatch(layout.dropped, k)}
    if not layout.statistics_optional or any("running_" in name for name in kept):
        return kept
    means = {n: torch.zeros_like(t) for n, t in expected.items() if n.endswith("running_mean")}
    variances = {n: torch.ones_like(t) for n, t in expected.items() if n.endswith("running_var")}
    return kept | {layout.name_of(n): t for n, t in (means | variances).items()}


def _check_names(file: Path, expected: set[str], found: set[str], layout: Layout) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if not missing and not unknown:
        return
    parts = [
        f"{len(names)} tensors {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, word in ((missing, "missing"), (unknown, "unknown"))
        if names
    ]
    raise InputError(
        f"{file}: {' and '.join(parts)}; expected exactly the {len(expected)} of {layout.title}. "
        "Choose another file or --format."
    )


def _tensor(file: Path, name: str, value: Any, expected: Tensor) -> Tensor:
    """`value` as float32 of `expected`'s shape, finite."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is reported below
            value = torch.from_numpy(value.astype(np.float32))
    if not (isinstance(value, Tensor) and value.is_floating_point() and _dense(value)):
        kind = getattr(value, "dtype", type(value).__name__)
        raise InputError(f"{file}: '{name}' is {kind}; expected floats. Choose another file.")
    if value.shape != expected.shape:
        raise InputError(
            f"{file}: '{name}' is {tuple(value.shape)}; expected {tuple(expected.shape)}. "
            "The weights are of another network: choose another file."
        )
    tensor = value.detach().float()
    if not torch.isfinite(tensor).all():
        raise InputError(
            f"{file}: '{name}' holds NaN or infinite values; expected finite weights. "
            "Choose another file."
        )
    return tensor


def _dense(value: Tensor) -> bool:
    return value.layout == torch.strided and value.device.type == "cpu"


def _classes(weights: Mapping[str, Any]) -> tuple[str, ...] | Literal["coco"]:
    """COCO's for 80 classes, else numbered; the last row of the class scores is background."""
    shape = tuple(getattr(weights.get(CLS_SCORE), "shape", ()))
    count = shape[0] - 1 if shape else 0
    return "coco" if count in (0, 80) else tuple(f"class_{i}" for i in range(count))


def _report(layout: Layout, recipe: MaskRCNNRecipe, taken: Mapping[str, Tensor]) -> str:
    values = sum(tensor.numel() for tensor in taken.values())
    start = f"{len(taken)} tensors, {values:,} values of {layout.title}"
    if not layout.heads:
        settings = f" with {' '.join(layout.overrides)}" if layout.overrides else ""
        return f"{start}; the heads are untrained: use it as --backbone{settings}"
    named = "COCO's" if recipe.classes == "coco" else "write their names into the .yaml beside it"
    return f"{start}, {len(recipe.class_names)} classes ({named})"
