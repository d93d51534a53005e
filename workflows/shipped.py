"""The checkpoints that come with maskrt, which are known by their bare names."""

from __future__ import annotations

import os
from pathlib import Path

from ..runtime.bundle import INDEX, is_folder, read_bundle
from ..runtime.errors import InputError
from ..runtime.files import require_file

CHECKPOINTS = Path(__file__).parents[1] / "train" / "checkpoints"


def shipped_names() -> list[str]:
    """What `named_file` knows, sorted."""
    return sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))


def named_file(path: Path) -> Path:
    """The file that `path` names: of a bundle's folder its index, of a shipped name the checkpoint.

    A file or folder of the user's own comes first; any other path is given back as it is.
    """
    if is_folder(path):
        return path / INDEX
    if str(path) in shipped_names() and not os.path.lexists(path):
        return CHECKPOINTS / f"{path}.safetensors"
    return path


def require_model(path: Path) -> None:
    """Check that `path` is an existing checkpoint, ONNX file, engine or index of a bundle.

    Raises:
        InputError: it is not; where it has no suffix, the shipped names are listed.
    """
    if path.name == INDEX:
        read_bundle(path)
        return
    kinds = (".safetensors", ".onnx", ".engine")
    if path.suffix == "":
        raise InputError(
            f"{path}: no suffix; expected a file that ends in {', '.join(kinds)}, the folder of "
            f"a bundle, or a shipped checkpoint: {', '.join(shipped_names())}. Name one."
        )
    require_file(path, "a model", kinds)
