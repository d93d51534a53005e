"""Other people's trained weights, as checkpoints.

    model_final_*.pkl, .pth   Detectron2 Mask R-CNN R50-C4: every tensor
    R-50.pkl                  Detectron's ImageNet ResNet-50 (Caffe2 names): backbone and res5
    resnet50-*.pth            torchvision's ImageNet ResNet-50: backbone and res5
    *.caffemodel              FastMask's own and MSRA's ResNet-50, by `fastmask_caffe`

The recipe is always `mask_rcnn_r50_c4` (Caffe: `fastmask_r39`), changed where the weights expect
other pictures or strides. Files are read by `restricted_pickle`, so nothing in them is run.

A Detectron2 file with other than 80 classes gets the names class_0, class_1, ..., for it holds
none; its owner writes them into the YAML beside the checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ...runtime.errors import InputError
from ...runtime.files import require_file
from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.recipe import load_recipe
from .checkpoint import require_suffix, save_checkpoint
from .detectron2_layout import CAFFE2, DETECTRON2, class_names
from .fastmask_caffe import import_caffe
from .layout import Layout, model_from
from .restricted_pickle import read_pickle, read_torch
from .torchvision_layout import TORCHVISION

Source = Literal["detectron2", "torchvision", "caffe"]

RECIPE = "mask_rcnn_r50_c4"
DDP = "module."


def import_checkpoint(file: Path, source: Source, out: Path) -> str:
    """Turn published weights into a checkpoint.

    Args:
        file: `.pkl` (numpy arrays), `.pth` (torch) or `.caffemodel`.
        source: whose names it uses; `detectron2` includes Detectron's ImageNet files, `caffe` is
            FastMask's own weights.
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
        recipe = dataclasses.replace(recipe, classes=class_names(weights))
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
    if not isinstance(content, dict) or not content or not all(isinstance(k, str) for k in content):
        raise InputError(
            f"{file}: holds no named tensors; expected a state dict. Is it a file of weights?"
        )
    # DistributedDataParallel puts this before each name
    prefix = DDP if all(name.startswith(DDP) for name in content) else ""
    return {name.removeprefix(prefix): value for name, value in content.items()}


def layout_of(source: Source, weights: Mapping[str, Any]) -> Layout:
    """The layout of a file, Caffe2's names recognized by its first convolution's."""
    if source == "torchvision":
        return TORCHVISION
    return CAFFE2 if "conv1_w" in weights else DETECTRON2


def _report(layout: Layout, recipe: MaskRCNNRecipe, taken: Mapping[str, Tensor]) -> str:
    values = sum(tensor.numel() for tensor in taken.values())
    start = f"{len(taken)} tensors, {values:,} values of {layout.title}"
    if not layout.heads:
        settings = f" with {' '.join(layout.overrides)}" if layout.overrides else ""
        return f"{start}; the heads are untrained: use it as --backbone{settings}"
    named = "COCO's" if recipe.classes == "coco" else "write their names into the .yaml beside it"
    return f"{start}, {len(recipe.class_names)} classes ({named})"
