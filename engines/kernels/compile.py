"""Compile the Triton kernels to the PTX files of `runtime/gpu/kernels/ptx`. Needs no GPU.

    python -m maskrt.engines.kernels.compile [--out FOLDER]

writes each kernel's PTX, and `manifest.json`: what a launch must know of each. A kernel depends on
the dtype of its arrays alone; sizes and attributes are arguments, so these files serve every model
and picture. The files are the same on every machine: no paths, no line tables.

A kernel is compiled for every architecture of `PTX_VERSIONS`. Most texts are the same but for
`.target` and `.version`, and PTX of an architecture runs on all later ones, so of each run of equal
texts the first is written; its name says from which compute capability on it serves.

Triton's PTX is changed in three ways before it is written.
- Two parameters that Triton appends for scratch memory are dropped: TensorRT passes inputs, extra
  scalars and outputs, nothing else. They must be unused, and are checked to be.
- `sm_90a` becomes `sm_90`: nothing used is specific to one architecture, and without the letter
  later GPUs of the family can run it too.
- Comments go.
ptxas, which comes with Triton, then assembles the result for every architecture that it serves, so
a change that broke it is found here.
"""

# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ...runtime.errors import BuildError
from ...runtime.files import write_text
from ...runtime.gpu.kernels.shipped import FOLDER, MANIFEST, file_name
from . import mask_kernels, picture_kernel, roi_align_kernel, window_align_kernel
from .digest import digest_of

# Architecture -> the PTX version its texts are written in, low because an older driver refuses a
# newer PTX: 8.0 is CUDA 12.0's and has every instruction up to 9.0, `add.f32x2` came with 8.6.
# In rising order: a text serves the architectures that follow, too.
PTX_VERSIONS = {75: 80, 80: 80, 86: 80, 89: 80, 90: 80, 100: 86, 120: 87}
# Tensor cores that multiply TF32 came with 8.0; Triton uses none before.
FIRST_WITH_TENSOR_CORES = 80
SCRATCH_PARAMETERS = 2


@dataclass(frozen=True)
class Variant:
    """A kernel for one dtype."""

    name: str
    function: Any
    types: dict[str, Any]
    """Triton's types of the arguments that are not int32 scalars."""
    constants: dict[str, int]
    product: str | None
    """How products are made on tensor cores; None where none are used."""
    warps: int
    fused: bool = True
    """Whether a product and a sum may be rounded once. Not where numpy's results are to be met."""


def variants() -> tuple[Variant, ...]:
    """Every kernel that is shipped."""
    roi, window = roi_align_kernel, window_align_kernel
    tiles = {"CHANNELS": roi.CHANNELS, "TILE": roi.TILE}
    roi_types = {d: {"features": f"*{d}", "rois": "*fp32", "output": f"*{d}"} for d in FLOATS}
    window_types = {"pyramid": "*i32", "index": "*i64", "output": "*i32"}
    window_types["shapes"] = ("i32",) * (2 * window.LEVELS)  # type: ignore[assignment]
    blocks = {"LEVELS": window.LEVELS, "CELLS": window.CELLS, "WORDS": window.WORDS}
    return (
        *(
            Variant(f"roi_align_{d}", roi.roi_align, roi_types[d], tiles, product, roi.WARPS)
            for d, product in FLOATS.items()
        ),
        Variant("window_align", window.window_align, window_types, blocks, None, window.WARPS),
        *picture_variants(),
    )


def picture_variants() -> tuple[Variant, ...]:
    """The kernels around a network: pictures in, masks out."""
    picture, mask = picture_kernel, mask_kernels
    placed = {"picture": "*u8", "canvas": "*u8"}
    pasted = {"masks": "*fp32", "boxes": "*fp32", "pixels": "*u8"}
    marked = {"masks": "*u8", "marks": "*i32"}
    canvas_tile = {"ROWS": picture.ROWS, "BYTES": picture.BYTES}
    mask_tile = {"COLUMNS": mask.COLUMNS, "ROWS": mask.ROWS}
    place, paste, mark = picture.place_picture, mask.paste_masks, mask.mark_runs
    return (
        Variant("place_picture", place, placed, canvas_tile, None, picture.WARPS, fused=False),
        Variant("paste_masks", paste, pasted, mask_tile, None, mask.WARPS, fused=False),
        Variant("mark_runs", mark, marked, {"WORDS": mask.WORDS}, None, mask.WARPS),
    )


# Feature types, and how FP32 products with them are made on tensor cores.
FLOATS = {"fp16": "halves", "fp32": "tf32x3"}


@dataclass(frozen=True)
class Compiled:
    """A kernel's PTX for compute capability `target` / 10 and later."""

    target: int
    ptx: str
    shared_bytes: int
    """Dynamic shared memory of a launch."""

    @property
    def body(self) -> tuple[str, int]:
        """All but the two lines that say for which architecture and driver it is."""
        return re.sub(
            r"^\.(target|version) .*$", "", self.ptx, flags=re.MULTILINE
        ), self.shared_bytes


def compile_kernels(folder: Path) -> dict[str, Any]:
    """Write the PTX files of all kernels and the manifest into `folder`; older ones there go.

    Returns:
        the manifest.

    Raises:
        BuildError: Triton's PTX is not of the form expected, or ptxas refuses it.
        InputError: the folder cannot be written.
    """
    manifest: dict[str, Any] = {"triton": triton.__version__, "kernels": {}}
    for variant in variants():
        texts = compile_variant(variant)
        for older in folder.glob(f"{variant.name}_sm*.ptx"):
            older.unlink()
        for text in texts:
            write_text(folder / file_name(variant.name, text.target), text.ptx)
            print(f"{file_name(variant.name, text.target):28} {len(text.ptx):7} bytes")
        manifest["kernels"][variant.name] = manifest_entry(variant, texts)
    manifest["digest"] = digest_of(manifest)
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def compile_variant(variant: Variant) -> list[Compiled]:
    """A kernel's distinct texts, each of the first architecture that has it, oldest first.

    Raises:
        BuildError: as `compile_kernels`.
    """
    distinct: list[Compiled] = []
    for target in PTX_VERSIONS:
        compiled = compile_one(variant, target)
        if not distinct or distinct[-1].body != compiled.body:
            distinct.append(compiled)
        assemble(distinct[-1].ptx, target)
    return distinct


def manifest_entry(variant: Variant, texts: Sequence[Compiled]) -> dict[str, Any]:
    """What `runtime.gpu.kernels.shipped` reads of a kernel; `targets` by lowest capability."""
    return {
        "entry": variant.function.fn.__name__,
        "arguments": arguments(variant),
        "blocks": variant.constants,
        "warps": variant.warps,
        "targets": {
            str(text.target): {
                "shared_bytes": text.shared_bytes,
                "sha256": hashlib.sha256(text.ptx.encode()).hexdigest(),
            }
            for text in texts
        },
    }


def arguments(variant: Variant) -> list[str]:
    """The kernel's parameters in order, a tuple's members one by one."""
    names = []
    for name in variant.function.arg_names:
        kind = variant.types.get(name, "i32")
        many = len(kind) if isinstance(kind, tuple) else 0
        names += [f"{name}.{i}" for i in range(many)] if many else [name]
    return [name for name in names if not name.isupper()]


def compile_one(variant: Variant, target: int) -> Compiled:
    """One kernel for one architecture, not yet assembled.

    Raises:
        BuildError: as `compile_kernels`.
    """
    constants: dict[str, int | str] = dict(variant.constants)
    if variant.product:
        constants["PRODUCT"] = variant.product if target >= FIRST_WITH_TENSOR_CORES else "ieee"
    names = variant.function.arg_names
    signature = {n: "constexpr" if n in constants else variant.types.get(n, "i32") for n in names}
    options = {
        "num_warps": variant.warps,
        "ptx_version": PTX_VERSIONS[target],
        "enable_fp_fusion": variant.fused,
    }
    with (
        tempfile.TemporaryDirectory() as cache,
        triton.knobs.compilation.scope(),
        triton.knobs.cache.scope(),
    ):
        triton.knobs.compilation.disable_line_info = True
        triton.knobs.cache.dir = cache
        compiled = triton.compile(
            ASTSource(fn=variant.function, signature=signature, constexprs=constants),
            target=GPUTarget("cuda", target, 32),
            options=options,
        )
        metadata = compiled.metadata
        ptx = without_scratch(compiled.asm["ptx"], len(arguments(variant)))
    if metadata.global_scratch_size or metadata.profile_scratch_size or metadata.num_ctas != 1:
        raise BuildError(
            f"{variant.name} for sm_{target}: it wants scratch memory or a cluster of blocks, which"
            " TensorRT does not give; expected neither. Change the kernel or Triton's version."
        )
    return Compiled(target, clean(ptx), int(metadata.shared))


def without_scratch(ptx: str, count: int) -> str:
    """PTX with its entry's first `count` parameters, the two of scratch memory gone.

    Raises:
        BuildError: not one entry with `count` + 2 parameters, or a dropped one is used.
    """
    entries = re.findall(r"\.visible \.entry \w+\(\n(.*?)\n\)", ptx, re.DOTALL)
    lines = entries[0].split(",\n") if len(entries) == 1 else []
    dropped = lines[count:]
    names = [line.split()[-1] for line in dropped]
    if len(lines) != count + SCRATCH_PARAMETERS or any(
        len(re.findall(rf"\b{name}\b", ptx)) != 1 or ".u64" not in line
        for name, line in zip(names, dropped, strict=True)
    ):
        raise BuildError(
            f"PTX: {len(entries)} entries, the first with {len(lines)} parameters, found; expected"
            f" one with {count} and {SCRATCH_PARAMETERS} unused pointers. Use the version of Triton"
            " named in the manifest."
        )
    return ptx.replace(entries[0], ",\n".join(lines[:count]))


def clean(ptx: str) -> str:
    """PTX without comments, trailing blanks and the letter that ties it to one architecture.

    Raises:
        BuildError: it still has line tables or debug sections, which hold paths of this machine.
    """
    text = re.sub(r"//[^\n]*", "", ptx)
    text = re.sub(r"^(\.target sm_\d+)a$", r"\1", text, flags=re.MULTILINE)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    for word in (".loc", ".file", ".section"):
        if any(line.split()[0] == word for line in lines):
            raise BuildError(
                f"PTX: a line of '{word}' found; expected none, as it names files of this machine."
                " Compile with Triton's line information off."
            )
    return "\n".join(lines) + "\n"


def assemble(ptx: str, target: int) -> None:
    """Let ptxas assemble the text for one architecture.

    Raises:
        BuildError: ptxas refuses it; its first lines are quoted.
    """
    tools = triton.knobs.nvidia
    ptxas = tools.ptxas_blackwell if target >= 100 else tools.ptxas
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [ptxas.path, f"--gpu-name=sm_{target}", str(source), "-o", f"{source}.cubin"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            f"PTX for sm_{target}: ptxas refuses it ({' '.join(done.stderr.split())[:300]});"
            " expected that it assembles. Use the version of Triton named in the manifest."
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: the shipped files' own")
    compile_kernels(parser.parse_args().out)


if __name__ == "__main__":
    main()
