"""The backbone or body of one checkpoint as the beginning of another network."""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import ConfigError
from ..networks.families import Network
from ..networks.fastmask import FastMask
from .tensors import load_tensors


def take_backbone(model: Network, path: Path) -> None:
    """Copy the backbone (Mask R-CNN) or body (FastMask) of another checkpoint into `model`.

    FastMask's ResNet body has the layers of Mask R-CNN's backbone, so either takes the other's.
    """
    tensors, _ = load_tensors(path)
    own = "body." if isinstance(model, FastMask) else "backbone."
    wanted = {k: v.shape for k, v in model.state_dict().items() if k.startswith(own)}
    given = {
        own + name: value
        for prefix, _, name, value in ((*key.partition("."), v) for key, v in tensors.items())
        if prefix in ("backbone", "body")
    }
    second = {k.replace("res4.", "res4_second."): v for k, v in given.items() if ".res4." in k}
    given = {k: v for k, v in (second | given).items() if k in wanted or "second" not in k}
    if wanted != {k: v.shape for k, v in given.items()}:
        raise ConfigError(
            f"{path}: its backbone is not the one of recipe {model.recipe.name}; expected the same "
            "stem_channels, widths and blocks. Choose another file or recipe."
        )
    model.load_state_dict(given, strict=False)
