"""Compile the Triton kernels to the PTX files of `runtime/gpu/kernels/ptx`. Needs no GPU.

    python -m maskrt.engines.kernels.compile [--out FOLDER]

writes each kernel's PTX, and `manifest.json`: what a launch must know of each. A kernel depends on
the dtype of its arrays alone; sizes and attributes are arguments, so these files serve every model
and picture. The files are the same on every machine: no paths, no line tables.

A kernel is compiled for every architecture of `PTX_VERSIONS`. Most texts are the same but for
`.target` and `.version`, and PTX of an architecture runs on all later ones, so of each run of equal
texts the first is written; its name says from which compute capability on it serves.

ptxas, which comes with Triton, assembles each text for every architecture that it serves, so one
that is broken is found here.
"""

# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import argparse
import hashlib
import json
import re
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
from .digest import digest_of
from .ptx_text import assemble, clean, without_scratch
from .variants import Variant, arguments, variants

# Architecture -> the PTX version its texts are written in, low because an older driver refuses a
# newer PTX: 8.0 is CUDA 12.0's and has every instruction up to 9.0, `add.f32x2` came with 8.6.
# In rising order: a text serves the architectures that follow, too.
PTX_VERSIONS = {75: 80, 80: 80, 86: 80, 89: 80, 90: 80, 100: 86, 120: 87}
# Tensor cores that multiply TF32 came with 8.0; Triton uses none before.
FIRST_WITH_TENSOR_CORES = 80
_HEADER = re.compile(r"^\.(target|version) .*$", re.MULTILINE)


@dataclass(frozen=True)
class Compiled:
    """A kernel's PTX for compute capability `target` / 10 and later."""

    target: int
    ptx: str
    shared_bytes: int
    """Dynamic shared memory of a launch."""

    def serves(self, later: Compiled) -> bool:
        """Whether `later` says nothing else but another architecture and driver."""
        texts = (_HEADER.sub("", one.ptx) for one in (self, later))
        return self.shared_bytes == later.shared_bytes and len(set(texts)) == 1


def compile_kernels(folder: Path) -> None:
    """Write the PTX files of all kernels and the manifest into `folder`; older ones there go.

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


def compile_variant(variant: Variant) -> list[Compiled]:
    """A kernel's distinct texts, each of the first architecture that has it, oldest first.

    Raises:
        BuildError: as `compile_kernels`.
    """
    distinct: list[Compiled] = []
    for target in PTX_VERSIONS:
        compiled = compile_one(variant, target)
        if not distinct or not distinct[-1].serves(compiled):
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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: the shipped files' own")
    compile_kernels(parser.parse_args().out)


if __name__ == "__main__":
    main()
