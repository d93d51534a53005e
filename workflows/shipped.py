"""The checkpoints that come with maskrt, which are known by their bare names."""

from __future__ import annotations

import os
from pathlib import Path

from ..runtime.errors import InputError
from ..runtime.files import require_file

CHECKPOINTS = Path(__file__).parents[1] / "train" / "checkpoints"


def shipped_names() -> list[str]:
    """What `named_file` knows, sorted."""
    return sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))


def named_file(path: Path) -> Path:
    """The shipped checkpoint of that bare name, e.g. "lsc_mask_rcnn_tiny"; else `path` itself.

    A file of the user's own comes first.
    """
    if str(path) in shipped_names() and not os.path.lexists(path):
        return CHECKPOINTS / f"{path}.safetensors"
    return path


def require_model(path: Path) -> None:
    """Check that `path` is an existing checkpoint, ONNX file or engine, by its suffix.

    Raises:
        InputError: it is not; where it has no suffix, the shipped names are listed.
    """
    kinds = (".safetensors", ".onnx", ".engine")
    if path.suffix == "":
        raise InputError(
            f"{path}: no suffix; expected a file that ends in {', '.join(kinds)}, or a shipped "
            f"checkpoint: {', '.join(shipped_names())}. Name one."
        )
    require_file(path, "a model", kinds)
