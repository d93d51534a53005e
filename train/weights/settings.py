"""What of a recipe may change without its weights: sizes, thresholds, slots and FastMask's levels.

    proposals.*, detections.*                         what stands behind Mask R-CNN's network
    input.{short_side_px,long_side_px,canvas_hw}      the size pictures are scaled to
    model.{streams,test_strides}, windows.per_image   FastMask: its levels, and how many come out

`model.streams=1` leaves the second stream of a two-stream checkpoint out, strides and weights: the
paper's four scales without retraining (Hu et al. 2017, table 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ...runtime.errors import ConfigError
from ..networks.families import Network, new_network
from ..recipes.recipe import Recipe, differences, dump_recipe, parse_recipe
from ..recipes.values import shown
from .checkpoint import Checkpoint

FREE = (
    *("proposals", "detections"),
    *("input.short_side_px", "input.long_side_px", "input.canvas_hw"),
    *("model.streams", "model.train_strides", "model.test_strides", "windows.per_image"),
)
"""Sections and keys; strides of training follow the streams."""


def with_settings(checkpoint: Checkpoint, overrides: Sequence[str]) -> Checkpoint:
    """The checkpoint with other settings; its accuracy was measured with the old, so it has none.

    Args:
        checkpoint: of either family; its weights are copied.
        overrides: `key=value` each, of `FREE`.

    Raises:
        ConfigError: an unknown key, a value out of its range, a key that the weights depend on, or
            a second stream that they do not have.
    """
    if not overrides:
        return checkpoint
    recipe = changed_recipe(checkpoint.recipe, overrides)
    model = under(recipe, checkpoint.model)
    return dataclasses.replace(checkpoint, recipe=recipe, model=model, measured={})


def changed_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe of trained weights with other settings; arguments and errors as above."""
    changed = parse_recipe(dump_recipe(recipe), "overrides", overrides)
    for key, before, asked in differences(recipe, changed):
        if not is_free(key):
            raise ConfigError(
                f"{key}={shown(asked)}: the weights were trained with {shown(before)}; expected "
                "keys that they do not depend on, which are those of proposals and detections, "
                f"{', '.join(FREE[2:])}. Leave it away, or train anew."
            )
    return changed


def is_free(key: str) -> bool:
    """Whether weights do not depend on a key."""
    return key in FREE or key.partition(".")[0] in FREE


def under(recipe: Recipe, model: Network) -> Network:
    """The weights of `model` in the network of `recipe`, which may have fewer of them."""
    network, given = new_network(recipe), model.state_dict()
    missing = network.state_dict().keys() - given.keys()
    if missing:
        raise ConfigError(
            f"model.streams=2: {len(missing)} tensors of a second stream are missing (e.g. "
            f"{min(missing)}); expected a checkpoint of two streams. Leave it away."
        )
    network.load_state_dict({name: given[name] for name in network.state_dict()})
    return network.eval()
