"""The recipe of a Detectron2 checkpoint: the zoo's, changed by the config and by the weights."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ....runtime.errors import ConfigError, InputError
from ...networks.pyramid.fpn import PADDING_PX
from ...recipes.mask_rcnn import MaskRCNNRecipe
from ...recipes.mask_rcnn_fpn import MaskRCNNFPNRecipe
from ...recipes.sections import InputConfig
from ...recipes.values import shown
from .config_file import Config
from .evidence import CLOSE, anchors_per_cell, class_count, shown_by, shown_by_pyramid
from .pyramid_settings import pyramid_values
from .settings import BLOCKS, NUM_CLASSES, TRAIN_SETS, recipe_values

CANVAS_PX = 16
"""Sides of canvases are multiples of it; with a pyramid, of `PADDING_PX`."""
AnyRecipe = TypeVar("AnyRecipe", MaskRCNNRecipe, MaskRCNNFPNRecipe)
SIZES = {"input.short_side_px", "input.long_side_px"}


def recipe_of(
    recipe: MaskRCNNRecipe,
    file: Path,
    weights: Mapping[str, Any],
    config: Config | None,
    classes: tuple[str, ...] | None,
) -> MaskRCNNRecipe:
    """`recipe` with what the weights show, the config says and the classes are called.

    Args:
        recipe: the zoo's Mask R-CNN R50-C4.
        file: where the weights are from, for messages.
        weights: Detectron2's names -> tensors; of the backbone alone, or of all.
        config: what it was trained with; None where that is not known.
        classes: names in label order; None takes COCO's for COCO's, and numbers for others.

    Raises:
        InputError: config, weights and classes contradict each other.
        ConfigError: values that together make no network.
    """
    told = {} if config is None else recipe_values(config)
    return _agreed(recipe, file, weights, (config, told, shown_by(file, weights)), classes)


def pyramid_recipe_of(
    recipe: MaskRCNNFPNRecipe,
    file: Path,
    weights: Mapping[str, Any],
    shapes: Mapping[str, Any],
    config: Config | None,
    classes: tuple[str, ...] | None,
) -> MaskRCNNFPNRecipe:
    """The same of a network with a pyramid, `shapes` being what those of its tensors tell."""
    told = {} if config is None else pyramid_values(config)
    stored = {**shown_by_pyramid(file, weights), **shapes}
    if not told.get("model.mask", True):  # a config may go on about a branch that is off
        told = {key: value for key, value in told.items() if not key.startswith("model.mask_")}
    return _agreed(recipe, file, weights, (config, told, stored), classes)


def _agreed(
    recipe: AnyRecipe,
    file: Path,
    weights: Mapping[str, Any],
    said: tuple[Config | None, Mapping[str, Any], Mapping[str, Any]],
    classes: tuple[str, ...] | None,
) -> AnyRecipe:
    """`recipe` as a config, its values and those that the file shows say together."""
    config, told, stored = said
    if config is not None:
        _check_agreement(config, told, file, stored)
    changed = _with_values(recipe, {**stored, **told}, file if config is None else config.path)
    if anchors_per_cell(weights):
        _check_anchors(changed, file, weights)
    return dataclasses.replace(changed, classes=_classes(file, weights, config, classes))


def _check_agreement(
    config: Config, told: Mapping[str, Any], file: Path, stored: Mapping[str, Any]
) -> None:
    """That the config says what is stored beside the weights, and as many classes as they have."""
    for key in stored.keys() & told.keys():
        one, other = told[key], stored[key]
        if not _close(one, other):
            raise _contradiction(config, key, one, file, other)


def _close(one: Any, other: Any) -> bool:
    """Whether numbers, or rows of them, are the same but for float32."""
    same_shape = np.shape(one) == np.shape(other)
    return same_shape and np.allclose(one, other, rtol=CLOSE, atol=CLOSE)


def _with_values(recipe: AnyRecipe, values: Mapping[str, Any], where: Path) -> AnyRecipe:
    """The recipe with other values of "section.key"; canvas and candidates follow their sizes."""
    try:
        for name in ("input", "model", "proposals", "detections"):
            own = {k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{name}.")}
            section = dataclasses.replace(getattr(recipe, name), **own)
            recipe = dataclasses.replace(recipe, **{name: section})
    except ConfigError as err:
        raise ConfigError(f"{where}: {err}") from err
    slots = recipe.detections
    return dataclasses.replace(
        recipe,
        name=_name(recipe),
        input=_with_canvas(recipe) if SIZES & values.keys() else recipe.input,
        detections=dataclasses.replace(slots, candidates=max(slots.candidates, slots.per_image)),
    )


def _with_canvas(recipe: AnyRecipe) -> InputConfig:
    """The smallest canvas that holds every picture scaled by these sizes and not upright."""
    sizes = recipe.input
    multiple = CANVAS_PX if isinstance(recipe, MaskRCNNRecipe) else PADDING_PX
    sides = (min(sizes.short_side_px, sizes.long_side_px), sizes.long_side_px)
    height, width = (-(-side // multiple) * multiple for side in sides)
    return dataclasses.replace(sizes, canvas_hw=(height, width))


def _name(recipe: AnyRecipe) -> str:
    """The zoo's name, with the depth that the network has."""
    depths = [depth for depth, blocks in BLOCKS.items() if tuple(blocks) == recipe.model.blocks]
    return re.sub(r"r\d+_", f"r{depths[0]}_", recipe.name) if depths else recipe.name


def _check_anchors(recipe: AnyRecipe, file: Path, weights: Mapping[str, Any]) -> None:
    sizes, ratios = len(recipe.model.anchor_sizes_px), len(recipe.model.anchor_ratios)
    if isinstance(recipe, MaskRCNNFPNRecipe):
        sizes = 1  # of each level
    if anchors_per_cell(weights) != sizes * ratios:
        raise InputError(
            f"{file}: {anchors_per_cell(weights)} anchors a cell; the settings say {sizes} sizes "
            f"by {ratios} ratios. Name the config that it was trained with, by --config."
        )


def _classes(
    file: Path, weights: Mapping[str, Any], config: Config | None, names: tuple[str, ...] | None
) -> Any:
    """Names of the classes, or that they are COCO's."""
    settings = {} if config is None else config.settings
    count = class_count(file, weights)
    told = settings.get(NUM_CLASSES, count)
    if config is not None and count and told != count:
        raise _contradiction(config, NUM_CLASSES, told, file, count)
    if names is not None and count and len(names) != count:
        raise InputError(
            f"--classes: {len(names)} names; {file} has {count} classes. Name each, in label order."
        )
    if names is not None:
        return names
    sets = settings.get(TRAIN_SETS, "coco")
    of_coco = all(str(s).startswith("coco") for s in (sets if isinstance(sets, list) else [sets]))
    if not count or (count == 80 and of_coco):
        return "coco"
    return tuple(f"class_{i}" for i in range(count))


def _contradiction(config: Config, what: str, told: Any, file: Path, stored: Any) -> InputError:
    return InputError(
        f"{config.path}: {what} is {shown(told)}; {file} holds {shown(stored)}. They do not belong "
        "together: name the config that the weights were trained with."
    )
