"""All weights of one checkpoint, trained or imported, as the beginning of another run."""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import ConfigError
from ..networks.families import Network
from ..recipes.recipe import differences
from ..recipes.values import shown
from .checkpoint import load_checkpoint
from .settings import is_free, under

ANEW = ("model.norm", "model.freeze_at", "model.dropout")
"""Keys of the network that decide how it is trained, not what its weights mean."""
PIXELS = ("input.channel_order", "input.mean", "input.std")


def take_weights(model: Network, path: Path) -> None:
    """Copy every tensor of the checkpoint at `path` into `model`.

    Raises:
        InputError, ConfigError: as `load_checkpoint`.
        ConfigError: the checkpoint's network, classes or pixels are not those of the recipe.
    """
    checkpoint = load_checkpoint(path)
    for key, given, asked in differences(checkpoint.recipe, model.recipe):
        section = key.partition(".")[0]
        decides = section in ("family", "classes", "model") or key in PIXELS
        if decides and key not in ANEW and not is_free(key):
            raise ConfigError(
                f"{path}: weights of {key}={shown(given)}; recipe {model.recipe.name} says "
                f"{shown(asked)}; expected the same network. Set {key} as the .yaml beside them "
                "does, or take their body alone by --backbone."
            )
    model.load_state_dict(under(model.recipe, checkpoint.model).state_dict())
