"""What comes with maskrt: checkpoints, known by their bare names, and a picture to try them on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..runtime.bundle import INDEX, is_folder, read_bundle
from ..runtime.contract import Contract
from ..runtime.errors import InputError
from ..runtime.files import require_file, sha256_of

CHECKPOINTS = Path(__file__).parents[1] / "train" / "checkpoints"
PICTURE = Path(__file__).parents[1] / "train" / "shapes" / "shapes.jpg"
"""Drawn, as `maskrt data shapes` draws, and in no data set that a shipped checkpoint has seen."""
NAMED = 12
"""Classes in a sentence."""


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


def named_picture(path: Path) -> Path:
    """The picture that comes with maskrt for its bare name, unless the user has a file of it."""
    return PICTURE if str(path) == PICTURE.name and not os.path.lexists(path) else path


def what_it_knows(contract: Contract) -> str:
    """What a network can find, in words: its classes, and what shipped ones were trained on."""
    names, kind = contract.class_names, "1 class"
    if len(names) > 1:
        kind = f"{len(names)} classes"
    known = f"knows {kind}: {', '.join(names[:NAMED])}"
    known += f" and {len(names) - NAMED} more" if names[NAMED:] else ""
    if contract.task == "proposals":
        known = "proposes objects of any kind, without classes"
    if contract.checkpoint_sha256 in _shipped_hashes():
        known += "; it was trained on drawn shapes alone, not on photographs"
    return known


def _shipped_hashes() -> Iterator[str]:
    return (sha256_of(path) for path in CHECKPOINTS.glob("*.safetensors"))


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
