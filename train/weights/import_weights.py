"""Other people's trained weights, as checkpoints.

    model_final_*.pkl, .pth   Detectron2 Mask R-CNN C4 and FPN, Faster R-CNN FPN: every tensor
    *.pth                     torchvision's Mask R-CNN and Faster R-CNN FPN: every tensor
    R-50.pkl                  Detectron's ImageNet ResNet-50 (Caffe2 names): backbone and res5
    *.pth                     MMDetection's Mask R-CNN and Faster R-CNN R50-FPN: every tensor
    resnet50-*.pth            torchvision's ImageNet ResNet-50: backbone and res5
    *.caffemodel              FastMask's own and MSRA's ResNet-50, by `fastmask_caffe`

The recipe is `mask_rcnn_r50_c4` (Caffe: `fastmask_r39`; a pyramid: `mask_rcnn_r50_fpn`), changed
where the weights expect other pictures or strides. Files are read by `restricted_pickle`, so
nothing in them is run.

What a Detectron2 file does not hold comes from its config (`detectron2/`); the names of classes
that nobody gives are class_0, class_1, ..., and its owner writes them into the YAML beside the
checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ...runtime.errors import InputError
from ...runtime.files import require_file
from ..recipes.mask_rcnn import MaskRCNNRecipe
from ..recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from ..recipes.recipe import differences, load_recipe
from .checkpoint import require_new, require_suffix, save_checkpoint
from .class_names import category_ids_from, class_names_from
from .detectron2.config_file import Config, read_config
from .detectron2.layout import CAFFE2, DETECTRON2, is_pyramid
from .detectron2.recipe import recipe_of
from .fastmask_caffe import import_caffe
from .imported import imported_from
from .layout import Layout, model_from
from .pyramids.found import Found, detectron2_pyramid, mmdetection_pyramid, torchvision_pyramid
from .pyramids.torchvision_detection import is_detection
from .restricted_pickle import read_pickle, read_torch
from .settings import changed_recipe, under
from .torchvision_layout import TORCHVISION
from .unsupported import require_supported

Source = Literal["detectron2", "torchvision", "mmdetection", "caffe"]

RECIPE = "mask_rcnn_r50_c4"
DDP = "module."


def import_checkpoint(
    file: Path,
    source: Source,
    out: Path,
    *,
    config: Path | None = None,
    classes: str | None = None,
    norm_eps: float | None = None,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
) -> str:
    """Turn published weights into a checkpoint.

    Args:
        file: `.pkl` (numpy arrays), `.pth` (torch) or `.caffemodel`.
        source: whose names it uses; `detectron2` includes Detectron's ImageNet files, `caffe` is
            FastMask's own weights.
        out: the `.safetensors` to write, its recipe `.yaml` beside it.
        config: detectron2: the YAML that it was trained with, with its `_BASE_` files; gives pixel
            means, anchors, sizes, thresholds and depth. mmdetection: the resolved `.py` that
            training wrote, where the checkpoint does not hold it.
        classes: not for caffe: "cat,dog" in label order, a `.txt` with a name a line, or COCO
            annotations (`.json`).
        norm_eps: torchvision's first detectors only, whose frozen norms' epsilon is in no file: 0
            where training began from its COCO weights, else 1e-5.
        overwrite: replace `out` and its recipe where they are there.
        overrides: `key=value` each, of what may change without the weights (`settings`).

    Returns:
        One line on what was taken and what to know about it.

    Raises:
        InputError: a file cannot be read, asks to run something, or is not exactly this network;
            config and weights contradict each other; `out` is there already.
        ConfigError: a setting that no network of the recipe's has.
    """
    require_suffix(out)
    _check_options(source, config, classes, norm_eps)
    require_new(out, overwrite=overwrite)
    if source == "caffe":
        return import_caffe(file, out, overrides)
    settings = read_config(config) if config is not None and source == "detectron2" else None
    if source == "mmdetection":
        content = read_content(file)
        meta = content.get("meta") if isinstance(content, dict) else None
        found = mmdetection_pyramid(file, weights_in(file, content), meta, config, classes)
    else:
        found = _found(file, source, settings, classes, norm_eps)
    layout, recipe = found.layout, found.recipe
    model, taken = model_from(file, found.weights, layout, recipe)
    imported = imported_from(
        *(file, layout.title),
        rest="" if layout.heads else "heads",
        settings=None if found.files is None else dict(found.files),
    )
    network = under(changed_recipe(recipe, overrides), model) if overrides else model
    ids = () if classes is None else category_ids_from(classes, network.recipe.class_names)
    save_checkpoint(out, network, imported=imported, category_ids=ids)
    return _report(layout, recipe, taken) + _settings_report(settings, found.plain, recipe, layout)


def _found(
    file: Path, source: Source, config: Config | None, classes: str | None, norm_eps: float | None
) -> Found:
    """What the file is; errors as `import_checkpoint`."""
    weights = read_weights(file)
    if source == "torchvision" and is_detection(weights):
        return torchvision_pyramid(file, weights, classes, norm_eps)
    if norm_eps is not None:
        raise InputError(
            f"--norm-eps {norm_eps:g}: {file} is none of torchvision's detectors; expected one. "
            "Leave it away."
        )
    names = None if classes is None else class_names_from(classes)
    if source == "detectron2" and is_pyramid(weights):
        return detectron2_pyramid(file, weights, config, names)
    layout = layout_of(source, weights)
    plain = load_recipe(RECIPE, layout.overrides)
    assert isinstance(plain, MaskRCNNRecipe), "the shipped recipe is of this family"
    if source == "detectron2":
        recipe = recipe_of(plain, file, weights, config, names)
        return Found(weights, layout, plain, recipe, None if config is None else config.files)
    named = plain if names is None else dataclasses.replace(plain, classes=names)
    return Found(weights, layout, plain, named)


def _check_options(
    source: Source, config: Path | None, classes: str | None, norm_eps: float | None
) -> None:
    """That what goes with one source is not given with another."""
    if config is not None and source not in ("detectron2", "mmdetection"):
        raise InputError(
            f"--config {config}: --format {source} found; expected detectron2 or mmdetection, "
            "whose settings it holds. Leave it away."
        )
    if classes is not None and source == "caffe":
        raise InputError(
            "--classes: --format caffe found; expected another, as FastMask has no classes. "
            "Leave it away."
        )
    if norm_eps is not None and source != "torchvision":
        raise InputError(
            f"--norm-eps {norm_eps:g}: --format {source} found; expected torchvision, whose files "
            "do not say it. Leave it away."
        )


def read_weights(file: Path) -> dict[str, Any]:
    """Name -> array or tensor, out of the dict that training tools wrap around them.

    Raises:
        InputError: no such file, not readable, no dict of names, or those of another network.
    """
    return weights_in(file, read_content(file))


def read_content(file: Path) -> Any:
    """What a file holds; errors as `read_weights`."""
    require_file(file, "trained weights", (".pkl", ".pth", ".pt"))
    return read_pickle(file) if file.suffix.lower() == ".pkl" else read_torch(file)


def weights_in(file: Path, content: Any) -> dict[str, Any]:
    """The named tensors of what a file holds; InputError without any, or of another network."""
    for key in ("model", "model_state_dict", "state_dict", "blobs"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(k, str) for k in content):
        raise InputError(
            f"{file}: holds no named tensors; expected a state dict. Is it a file of weights?"
        )
    # DistributedDataParallel puts this before each name
    prefix = DDP if all(name.startswith(DDP) for name in content) else ""
    weights = {name.removeprefix(prefix): value for name, value in content.items()}
    require_supported(file, weights)
    return weights


def layout_of(source: Source, weights: Mapping[str, Any]) -> Layout:
    """The layout of a file, Caffe2's names recognized by its first convolution's."""
    if source == "torchvision":
        return TORCHVISION
    return CAFFE2 if "conv1_w" in weights else DETECTRON2


def _report(
    layout: Layout, recipe: MaskRCNNRecipe | MaskRCNNFPNRecipe, taken: Mapping[str, Tensor]
) -> str:
    values = sum(tensor.numel() for tensor in taken.values())
    start = f"{len(taken)} tensors, {values:,} values of {layout.title}"
    if not layout.heads:
        settings = f" with {' '.join(layout.overrides)}" if layout.overrides else ""
        return f"{start}; the heads are untrained: start from it by --weights{settings}"
    given = "numbered: --classes names them" if recipe.class_names[0] == "class_0" else "yours"
    named = "COCO's" if recipe.classes == "coco" else given
    return f"{start}, {len(recipe.class_names)} classes ({named})"


def _settings_report(
    config: Config | None,
    before: MaskRCNNRecipe | MaskRCNNFPNRecipe,
    after: MaskRCNNRecipe | MaskRCNNFPNRecipe,
    layout: Layout,
) -> str:
    """Which settings are other than the zoo's, or that nobody gave any."""
    changed = [key for key, _, _ in differences(before, after) if key != "classes"]
    words = ", ".join(changed[:6]) + (f" and {len(changed) - 6} more" if changed[6:] else "")
    if config is not None:
        return f"; {config.path.name} sets {words or 'what the zoo does'}"
    if not layout.heads:
        return ""
    weights = f", {words} as the weights say" if changed else ""
    return f"; settings of {layout.settings}{weights} ({layout.others} for yours)"
