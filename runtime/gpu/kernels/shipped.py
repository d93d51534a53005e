"""The compiled kernels that come with the package: which one a GPU runs, and how it is launched.

`manifest.json` says of every kernel its entry, its arguments in order, the sizes of its blocks and
the SHA-256 of each PTX file. PTX runs on its own architecture and, compiled further by the driver,
on all later ones: a file is there only where a kernel's text changes from one architecture to the
next, and the newest that a GPU can run is taken, on GPUs that are not known yet, too.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BuildError

FOLDER = Path(__file__).parent / "ptx"
MANIFEST = "manifest.json"
THREADS_PER_WARP = 32


@dataclass(frozen=True)
class Kernel:
    """One kernel for one architecture and those after it, up to the next text's."""

    name: str
    """As "roi_align_fp16" or "place_picture"."""
    target: int
    """The lowest compute capability it is for, times ten."""
    entry: str
    ptx: str
    sha256: str
    arguments: tuple[str, ...]
    """Input pointers, int32 scalars, output pointer."""
    blocks: dict[str, int]
    """What one block of threads covers; the grid is counted in these."""
    threads: int
    """Per block; the PTX runs with this number only."""
    shared_bytes: int
    """Dynamic shared memory of a launch."""


def load_kernel(name: str, compute_capability: str, folder: Path = FOLDER) -> Kernel:
    """The kernel `name` for a GPU.

    Args:
        name: of an operator and dtype ("roi_align_fp16", "pyramid_roi_align_fp32", ..), or
            "window_align", "place_picture", "paste_masks", "mark_runs".
        compute_capability: the GPU's, as "8.9".
        folder: where the PTX files and the manifest are.

    Raises:
        BuildError: no such kernel, none for a GPU as old as this, or a file that is missing or is
            not the one the manifest describes.
    """
    facts = _facts(name, folder)
    return _kernel(name, facts, _newest_for(compute_capability, facts["targets"], name), folder)


def file_name(name: str, target: int) -> str:
    """The PTX file of a kernel for compute capability `target` / 10 and later."""
    return f"{name}_sm{target}.ptx"


def _facts(name: str, folder: Path) -> dict[str, Any]:
    """The manifest's entry of a kernel."""
    kernels = _manifest(folder)["kernels"]
    if name not in kernels:
        raise BuildError(
            f"{folder}: no kernel '{name}'; expected one of {', '.join(kernels)}. "
            "Install maskrt again."
        )
    facts: dict[str, Any] = kernels[name]
    return facts


def _kernel(name: str, facts: dict[str, Any], target: int, folder: Path) -> Kernel:
    text = facts["targets"][str(target)]
    return Kernel(
        name=name,
        target=target,
        entry=facts["entry"],
        ptx=_read(folder / file_name(name, target), text["sha256"]),
        sha256=text["sha256"],
        arguments=tuple(facts["arguments"]),
        blocks=facts["blocks"],
        threads=facts["warps"] * THREADS_PER_WARP,
        shared_bytes=text["shared_bytes"],
    )


@functools.cache
def _manifest(folder: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise BuildError(
            f"{folder / MANIFEST}: not readable ({err}); expected the list of compiled kernels. "
            "Install maskrt again, or run: python -m maskrt.engines.kernels.compile"
        ) from err
    return read


def _newest_for(compute_capability: str, targets: dict[str, Any], name: str) -> int:
    """The newest target a GPU can run."""
    major, minor = compute_capability.split(".")
    fitting = [int(t) for t in targets if int(t) <= 10 * int(major) + int(minor)]
    if not fitting:
        oldest = min(map(int, targets))
        raise BuildError(
            f"{name}: compute capability {compute_capability} found; the kernels need at least "
            f"{oldest // 10}.{oldest % 10}. Do without them: build with '--operators portable' and "
            "prepare pictures on the CPU."
        )
    return max(fitting)


def _read(path: Path, sha256: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as err:
        raise BuildError(
            f"{path}: not readable ({err.strerror}); expected a kernel. Install maskrt again."
        ) from err
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BuildError(
            f"{path}: SHA-256 {found[:12]} found; expected {sha256[:12]} as in {MANIFEST}. "
            "Install maskrt again."
        )
    return data.decode()
