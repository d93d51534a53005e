"""An engine and its sidecar: what the sidecar says of the build, and both written as one pair.

Both are written or neither; an older pair stays whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError
from ..runtime.files import atomic_path, sha256_of, write_error
from ..runtime.gpu.cuda import device_info
from ..runtime.sidecar import Fingerprint, Sidecar, sidecar_path
from .flavours import Flavour


def check_target(engine_path: Path) -> None:
    """Refuse before a long build what could not be written after it.

    Raises:
        InputError: not named `.engine`, a folder, or in a place that cannot be written.
    """
    if engine_path.suffix != ".engine":
        raise InputError(
            f"{engine_path}: suffix '{engine_path.suffix}' is not an engine's; expected .engine. "
            "Name the output X.engine."
        )
    for path in (engine_path, sidecar_path(engine_path)):
        if path.is_dir():
            raise InputError(f"{path}: is a folder; expected a file name. Choose another name.")
    folder = next(p for p in engine_path.absolute().parents if p.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(
            f"{engine_path}: {folder} is not a folder that can be written. Choose another folder."
        )


def take_fingerprint(
    onnx_path: Path,
    flavour: Flavour,
    engine: bytes,
    options: dict[str, Any],
    kernels_sha256: dict[str, str],
    build_seconds: float,
) -> Fingerprint:
    """The fingerprint of `engine`, built from `onnx_path` by `flavour` on this machine.

    `gpu_name` and `compute_capability` are None where no GPU was there to build on.
    """
    device = device_info()
    return Fingerprint(
        onnx_sha256=sha256_of(onnx_path),
        runtime=flavour.name,
        tensorrt_version=flavour.version_text,
        gpu_name=device.name if device else None,
        compute_capability=device.compute_capability if device else None,
        options=options,
        kernels_sha256=kernels_sha256,
        engine_sha256=hashlib.sha256(engine).hexdigest(),
        engine_bytes=len(engine),
        build_seconds=round(build_seconds, 3),
    )


def write_pair(engine_path: Path, engine: bytes, sidecar: Sidecar) -> Path:
    """Write `engine_path` and its sidecar; return the sidecar's path.

    Both are complete on disk before either gets its name, the engine first. When the sidecar cannot
    follow, the engine that was there before comes back.

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    beside = sidecar_path(engine_path)
    with (
        _restored_on_error(engine_path),
        atomic_path(beside) as temporary_sidecar,
        atomic_path(engine_path) as temporary_engine,
    ):
        temporary_engine.write_bytes(engine)
        temporary_sidecar.write_text(sidecar.to_json(), encoding="utf-8")
    return beside


@contextlib.contextmanager
def _restored_on_error(path: Path) -> Iterator[None]:
    """Put back the file that `path` was, or was not, when the block fails."""
    if not path.exists():
        try:
            yield
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return
    previous = _second_name(path)
    try:
        yield
    except BaseException:
        previous.replace(path)
        raise
    finally:
        # Renaming a name onto another name of the same file leaves both (POSIX).
        previous.unlink(missing_ok=True)


def _second_name(path: Path) -> Path:
    """Keep a file's bytes reachable under a hidden name while its own is replaced."""
    previous = path.with_name(f".{path.name}.previous")
    try:
        previous.unlink(missing_ok=True)
        os.link(path, previous)
    except OSError:  # file systems without hard links, such as FAT
        _copy(path, previous)
    return previous


def _copy(path: Path, target: Path) -> None:
    try:
        shutil.copyfile(path, target)
    except OSError as err:
        target.unlink(missing_ok=True)
        raise write_error(path, err) from err
