"""The compiled kernels: what is shipped, which a GPU gets, and that the command makes it again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from maskrt.runtime.errors import BuildError
from maskrt.runtime.gpu.kernels.shipped import FOLDER, MANIFEST, file_name, load_kernel

TARGETS = (75, 80, 86, 89, 90, 100, 120)
KERNELS = {
    "roi_align_fp16": 2,
    "roi_align_fp32": 2,
    "window_align": 2,
    "place_picture": 1,
    "paste_masks": 2,
    "mark_runs": 1,
}
"""Name to the number of input arrays."""
# Launches above it need a permission that TensorRT is not known to ask for.
SHARED_LIMIT_BYTES = 48 << 10


def test_shipped_files_are_those_of_the_manifest() -> None:
    manifest = json.loads((FOLDER / MANIFEST).read_text())
    assert set(manifest["kernels"]) == set(KERNELS)
    files = {file_name(name, target) for name in KERNELS for target in TARGETS}
    assert {path.name for path in FOLDER.iterdir()} == files | {MANIFEST}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_ptx_is_what_a_launch_needs(name: str, target: int) -> None:
    kernel = load_kernel(name, f"{target // 10}.{target % 10}")
    assert kernel.target == target
    entry = re.search(rf"\.visible \.entry {kernel.entry}\((.*?)\)", kernel.ptx, re.DOTALL)
    assert entry
    sizes = re.findall(r"\.param \.(u32|u64)", entry[1])
    inputs = KERNELS[name]
    scalars = len(kernel.arguments) - inputs - 1
    assert sizes == ["u64"] * inputs + ["u32"] * scalars + ["u64"]
    assert f".reqntid {kernel.threads}\n" in kernel.ptx
    assert kernel.shared_bytes <= SHARED_LIMIT_BYTES
    assert f".target sm_{target}\n" in kernel.ptx
    version = re.search(r"\.version (\d)\.(\d)", kernel.ptx)
    assert version
    assert int(version[1] + version[2]) <= {100: 86, 120: 87}.get(target, 80)
    assert "/" not in kernel.ptx, "a path or a comment"
    assert not re.search(r"\.loc|\.file|\.section", kernel.ptx)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["place_picture", "paste_masks"])
def test_what_must_equal_the_cpu_is_rounded_as_there(name: str, target: int) -> None:
    ptx = load_kernel(name, f"{target // 10}.{target % 10}").ptx
    assert re.search(r"mul\.rn\.f(32|64)", ptx)
    assert not re.search(r"\b(fma|mad)\.\S*f(32|64)", ptx)
    assert not re.search(r"\b(mul|add|sub)\.f(32|64)", ptx), "the driver may fuse it"
    assert not re.search(r"\bdiv\.(full|approx)", ptx)


@pytest.mark.parametrize(
    ("capability", "target"),
    [("7.5", 75), ("8.0", 80), ("8.7", 86), ("8.9", 89), ("9.0", 90), ("10.3", 100), ("12.1", 120)],
)
def test_a_gpu_gets_the_newest_kernel_it_can_run(capability: str, target: int) -> None:
    assert load_kernel("roi_align_fp16", capability).target == target


def test_gpus_that_are_too_old_are_refused() -> None:
    with pytest.raises(BuildError, match=r"compute capability 7\.0 found; .* at least 7\.5"):
        load_kernel("roi_align_fp16", "7.0")


def test_unknown_kernels_are_refused() -> None:
    with pytest.raises(BuildError, match="no kernel 'nms'; expected one of roi_align_fp16"):
        load_kernel("nms", "8.0")


def test_changed_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not readable"):
        load_kernel("window_align", "8.0", tmp_path)
    folder = tmp_path / "ptx"
    folder.mkdir()
    (folder / MANIFEST).write_bytes((FOLDER / MANIFEST).read_bytes())
    with pytest.raises(BuildError, match=r"window_align_sm80\.ptx: not readable"):
        load_kernel("window_align", "8.0", folder)
    (folder / file_name("window_align", 80)).write_text("other")
    with pytest.raises(BuildError, match=r"SHA-256 .* found; expected"):
        load_kernel("window_align", "8.0", folder)


def regenerate(folder: Path, targets: Sequence[int]) -> None:
    """Compile again and compare byte for byte, by the command itself."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    manifest = json.loads((FOLDER / MANIFEST).read_text())
    if triton.__version__ != manifest["triton"]:
        pytest.skip(f"the files are of triton {manifest['triton']}, here is {triton.__version__}")
    command = [sys.executable, "-m", "maskrt.engines.kernels.compile", "--out", str(folder)]
    done = subprocess.run(
        [*command, "--target", *map(str, targets)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for kernel in manifest["kernels"].values():
        kernel["targets"] = {str(t): kernel["targets"][str(t)] for t in targets}
    assert json.loads((folder / MANIFEST).read_text()) == manifest
    for name in (file_name(name, target) for name in KERNELS for target in targets):
        assert (folder / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_the_command_makes_the_shipped_files_again(tmp_path: Path) -> None:
    regenerate(tmp_path, [80, 120])


@pytest.mark.slow
def test_the_command_makes_all_shipped_files_again(tmp_path: Path) -> None:
    regenerate(tmp_path, [t for t in TARGETS if t not in (80, 120)])


def ptx_with(parameters: int, body: str = "") -> str:
    lines = [f"\t.param .u64 .ptr .global .align 1 k_param_{i}" for i in range(parameters)]
    return ".visible .entry k(\n" + ",\n".join(lines) + "\n)\n{\n" + body + "}\n"


def test_parameters_for_scratch_memory_are_dropped_only_when_unused() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from maskrt.engines.kernels.compile import clean, without_scratch

    assert without_scratch(ptx_with(5), 3) == ptx_with(3)
    for text in (ptx_with(4), ptx_with(5, "ld.param.b64 %rd1, [k_param_4];\n"), ptx_with(5) * 2):
        with pytest.raises(BuildError, match="expected one with 3 and 2 unused pointers"):
            without_scratch(text, 3)
    assert clean(".target sm_90a\n\n  add; // file.py:3\n") == ".target sm_90\n  add;\n"
    with pytest.raises(BuildError, match=r"a line of '\.loc' found"):
        clean("\t.loc 1 2 3\n")


def test_what_ptxas_refuses_is_an_error() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from maskrt.engines.kernels.compile import assemble

    with pytest.raises(BuildError, match="PTX for sm_80: ptxas refuses it"):
        assemble(".version 8.0\n.target sm_80\n.address_size 64\nnonsense\n", 80)
