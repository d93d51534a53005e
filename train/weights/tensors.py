"""Tensors and text metadata in safetensors files: atomic, checked, the same bytes each time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...runtime.errors import InputError
from ...runtime.files import atomic_path, require_file


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors as safetensors, atomically; InputError when the disk refuses."""
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors, metadata)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """The same into a file that somebody else puts in place; OSError when the disk refuses."""
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    try:
        save_file(plain, path, metadata)
    except SafetensorError as err:
        raise OSError(str(err)) from err
    _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """Put the metadata in order, in place.

    safetensors writes it in another one at each run: equal files would differ in their SHA-256.
    """
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "only the order has changed"
        stream.seek(8)
        stream.write(text.ljust(length))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read every tensor and the metadata; InputError when it is no whole safetensors file."""
    with _opened(path) as stream:
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
        return tensors, stream.metadata() or {}


def load_metadata(path: Path) -> dict[str, str]:
    """Read the metadata alone; errors as `load_tensors`."""
    with _opened(path) as stream:
        return stream.metadata() or {}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    require_file(path, "a checkpoint", (".safetensors",))
    try:
        with safe_open(path, framework="pt") as stream:
            yield stream
    except (SafetensorError, OSError) as err:
        raise InputError(
            f"{path}: not a readable safetensors file ({err}); expected a maskrt checkpoint. "
            "Copy or train it again."
        ) from err


def check_tensors(path: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """That `found` has the names, shapes and types of `expected` and finite values.

    Args:
        path: the file they are from, for the error.
        found: what was read.
        expected: the network's own; their values, which they may lack (device meta), are not read.

    Raises:
        InputError: they are of another network, or not finite.
    """
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or extra:
        names = ", ".join(sorted(missing or extra)[:3])
        raise InputError(
            f"{path}: {len(missing)} tensors missing and {len(extra)} unknown (e.g. {names}); "
            "expected those of the recipe's network. They do not belong together: copy both again."
        )
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            raise InputError(
                f"{path}: '{name}' is {_described(tensor)}; the recipe says "
                f"{_described(expected[name])}. They do not belong together: copy both again."
            )
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{path}: '{name}' holds NaN or infinite values; expected finite weights. Training "
                "diverged: take an earlier checkpoint or train with a lower solver.lr."
            )


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
