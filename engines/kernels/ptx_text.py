"""Triton's PTX made fit to ship, and assembled to see that it still is PTX.

Three changes.
- Two parameters that Triton appends for scratch memory are dropped: TensorRT passes inputs, extra
  scalars and outputs, nothing else. They must be unused, and are checked to be.
- `sm_90a` becomes `sm_90`: nothing used is specific to one architecture, and without the letter
  later GPUs of the family can run it too.
- Comments go.
"""

# mypy: disable-error-code="import-untyped, import-not-found"

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import triton

from ...runtime.errors import BuildError

SCRATCH_PARAMETERS = 2
FIRST_BLACKWELL = 100


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
    ptxas = tools.ptxas_blackwell if target >= FIRST_BLACKWELL else tools.ptxas
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
