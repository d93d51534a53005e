"""A trained checkpoint as another recipe's network, measured without training again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...eval import CocoData
from ...runtime.errors import ConfigError
from ...runtime.sessions.open import ModelRef
from ...train.networks.families import new_network
from ...train.recipes.recipe import load_recipe
from ...train.weights.checkpoint import (
    Checkpoint,
    load_checkpoint,
    record_accuracy,
    save_checkpoint,
)
from ...train.weights.fine_tuning import take_weights
from ..measure import measured


def measured_as(source: Path, words: Sequence[str], out: Path, data: CocoData) -> Checkpoint:
    """Write `source` as the network of a recipe, with its accuracy on `data`.

    Args:
        source: a trained checkpoint.
        words: recipe and overrides.
        out: `.safetensors` to write.
        data: pictures with ground truth.

    Raises:
        ConfigError: the network has a tensor that `source` lacks.
    """
    given = load_checkpoint(source)
    recipe = load_recipe(words[0], words[1:])
    if recipe.family != "fastmask":
        classes = json.dumps(given.recipe.class_names, ensure_ascii=False)
        recipe = load_recipe(words[0], [*words[1:], f"classes={classes}"])
    model = new_network(recipe)
    taken = take_weights(model, given, source)
    if untrained := taken.new + taken.remade:
        raise ConfigError(
            f"{source}: has no trained {untrained[0]} for {' '.join(words)}; expected a network "
            "whose every layer it has. Train that row: leave away 'of'."
        )
    save_checkpoint(out, model, steps=given.steps, category_ids=given.category_ids)
    record_accuracy(out, measured(ModelRef(out), data).accuracy.measured)
    return load_checkpoint(out)
