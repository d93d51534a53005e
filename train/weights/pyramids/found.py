"""Detectors on a feature pyramid out of other libraries' files: whose they are and their recipe.

What shapes tell comes from the tensors, pixels and thresholds from the config or from what the
library's own constructor says; class names from `--classes`, else COCO's for COCO's 80.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....runtime.errors import InputError
from ....runtime.files import sha256_of
from ...networks.layers import EPS
from ...recipes.mask_rcnn import MaskRCNNRecipe
from ...recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from ...recipes.recipe import dump_recipe, load_recipe, parse_recipe
from ..class_names import class_names_from
from ..detectron2.config_file import Config
from ..detectron2.layout import PYRAMID, pyramid_name
from ..detectron2.recipe import pyramid_recipe_of
from ..layout import Layout
from ..mmdetection.layout import MMDETECTION, mmdetection_name
from ..mmdetection.recipe import class_names_in, config_of, overrides_of
from .structure import class_rows, structure_of
from .torchvision_detection import (
    COCO_BY_ID,
    detection_layout,
    names_of,
    norm_eps_of,
    norm_of,
    with_norm_eps,
)

RECIPE = "mask_rcnn_r50_fpn"
COCO_CLASSES = "coco"


@dataclass(frozen=True)
class Found:
    """What a file of weights is."""

    weights: Mapping[str, Any]
    """The library's name -> array or tensor."""
    layout: Layout
    plain: MaskRCNNRecipe | MaskRCNNFPNRecipe
    """Before any config."""
    recipe: MaskRCNNRecipe | MaskRCNNFPNRecipe
    files: Mapping[str, str] | None = None
    """SHA-256 of each file the settings are from, by its name; None without any."""


def torchvision_pyramid(
    file: Path, weights: Mapping[str, Any], classes: str | None, norm_eps: float | None
) -> Found:
    """Torchvision's Mask R-CNN or Faster R-CNN, of either version.

    Args:
        file: where the weights are from, for messages.
        weights: torchvision's name -> tensor.
        classes: as in `class_names_from`; "coco" leaves out the ten of the 90 COCO ids that have no
            category.
        norm_eps: of frozen norms; None where file or names tell.

    Raises:
        InputError: nobody says what the norms' epsilon is.
        ConfigError: shapes that no recipe has.
    """
    eps = norm_eps_of(file, weights, sha256_of(file), norm_eps)
    rows = class_rows(weights, names_of(weights))
    coco = classes == COCO_CLASSES and rows == len(COCO_BY_ID)
    layout = detection_layout(file, weights, coco=coco)
    shapes = structure_of(weights, layout.name_of) | {"model.norm": norm_of(weights)}
    recipe = _recipe(file, layout, shapes)
    names = COCO_BY_ID if rows == len(COCO_BY_ID) else _numbered(rows)
    if classes == COCO_CLASSES:
        named = dataclasses.replace(recipe, classes="coco")
    else:
        given = names if classes is None else class_names_from(classes)
        named = dataclasses.replace(recipe, classes=_checked(file, given, rows))
    changed = weights if eps == EPS else with_norm_eps(weights, eps)
    return Found(changed, layout, recipe, named)


def detectron2_pyramid(
    file: Path, weights: Mapping[str, Any], config: Config | None, names: tuple[str, ...] | None
) -> Found:
    """Detectron2's R50-FPN or R101-FPN, with masks or without; errors as `torchvision_pyramid`."""
    shapes = structure_of(weights, pyramid_name)
    plain = _recipe(file, PYRAMID, {"model.mask": shapes["model.mask"]})
    recipe = pyramid_recipe_of(plain, file, weights, shapes, config, names)
    title = PYRAMID.title if shapes["model.mask"] else PYRAMID.title.replace("Mask", "Faster")
    files = None if config is None else config.files
    return Found(weights, dataclasses.replace(PYRAMID, title=title), plain, recipe, files)


def mmdetection_pyramid(
    file: Path, weights: Mapping[str, Any], meta: Any, config: Path | None, classes: str | None
) -> Found:
    """MMDetection's Mask R-CNN or Faster R-CNN R50-FPN of either style.

    Args:
        file: where the weights are from, for messages.
        weights: MMDetection's name -> tensor.
        meta: what the checkpoint says about itself.
        config: the resolved config that training wrote; None where `meta` holds it.
        classes: as in `class_names_from`; None takes those of `meta`.

    Raises:
        InputError: no config says its style.
        ConfigError: shapes or values that no recipe has.
    """
    shapes = structure_of(weights, mmdetection_name)
    told = overrides_of(config_of(file, meta, config), str(config or file))
    title = MMDETECTION.title if shapes["model.mask"] else "MMDetection Faster R-CNN FPN"
    layout = dataclasses.replace(
        MMDETECTION, title=title, overrides=("model.level_rule=mmdetection", *told)
    )
    recipe = _recipe(file, layout, shapes)
    rows = class_rows(weights, mmdetection_name)
    names = class_names_in(meta) if classes is None else class_names_from(classes)
    named = dataclasses.replace(recipe, classes=_checked(file, names or _numbered(rows), rows))
    files = None if config is None else {config.name: sha256_of(config)}
    return Found(weights, layout, recipe, named, files)


def _recipe(file: Path, layout: Layout, shapes: Mapping[str, Any]) -> MaskRCNNFPNRecipe:
    """The shipped recipe with what the library and the shapes say, every value in its range."""
    told = [f"{key}={json.dumps(value)}" for key, value in shapes.items()]
    plain = dump_recipe(load_recipe(RECIPE))
    recipe = parse_recipe(plain, str(file), [*layout.overrides, *told])
    assert isinstance(recipe, MaskRCNNFPNRecipe), "the shipped recipe is of this family"
    deep = "r101" if recipe.model.blocks == (3, 4, 23, 3) else "r50"
    name = f"{'mask' if recipe.model.mask else 'faster'}_rcnn_{deep}_fpn"
    return dataclasses.replace(recipe, name=name)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class_{i}" for i in range(max(count, 1)))


def _checked(file: Path, names: tuple[str, ...], count: int) -> tuple[str, ...]:
    if count and len(names) != count:
        raise InputError(
            f"--classes: {len(names)} names; {file} has {count} classes. Name each, in label order."
        )
    return names
