"""The compiled kernels: what is shipped, which a GPU gets, and that the command makes it again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from maskrt.engines.kernels.digest import digest_of
from maskrt.runtime.errors import BuildError
from maskrt.runtime.gpu.kernels.shipped import (
    FOLDER,
    MANIFEST,
    Kernel,
    file_name,
    load_kernel,
)

ROOT = Path(__file__).parents[3]
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
KERNELS = {
    "roi_align_fp16": 2,
    "roi_align_fp32": 2,
    "pyramid_roi_align_fp16": 2,
    "pyramid_roi_align_fp32": 2,
    "window_align": 2,
    "place_picture": 1,
    "paste_masks": 2,
    "mark_runs": 1,
}
"""Name to the number of input arrays."""
# Launches above it need a permission that TensorRT is not known to ask for.
SHARED_LIMIT_BYTES = 48 << 10
# What the driver of CUDA 12.0 reads; compute capability 10.0 came with 12.7.
NEWEST_PTX_VERSION, FROM_100 = 80, 86


def manifest() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / MANIFEST).read_text())
    return read


def all_texts(name: str) -> list[Kernel]:
    """A kernel for every GPU at which its text changes."""
    targets = (int(target) for target in manifest()["kernels"][name]["targets"])
    return [load_kernel(name, f"{target // 10}.{target % 10}") for target in targets]


def test_shipped_files_are_those_of_the_manifest() -> None:
    kernels = manifest()["kernels"]
    assert set(kernels) == set(KERNELS)
    files = {file_name(name, int(t)) for name, facts in kernels.items() for t in facts["targets"]}
    assert {path.name for path in FOLDER.iterdir()} == files | {MANIFEST}


def test_shipped_files_are_made_of_these_sources_and_this_triton() -> None:
    """A changed kernel, compiler setting, file or manifest: all are in the digest."""
    made = manifest()
    command = "run: python -m maskrt.engines.kernels.compile"
    assert made["digest"] == digest_of(made), f"sources or PTX files were changed; {command}"
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = extras["optional-dependencies"]["kernels"]
    assert pinned == [f"triton=={made['triton']}"], f"of another Triton; {command}"


@pytest.mark.parametrize("name", KERNELS)
def test_ptx_is_what_a_launch_needs(name: str) -> None:
    for kernel in all_texts(name):
        entry = re.search(rf"\.visible \.entry {kernel.entry}\((.*?)\)", kernel.ptx, re.DOTALL)
        assert entry
        sizes = re.findall(r"\.param \.(u32|u64)", entry[1])
        inputs = KERNELS[name]
        scalars = len(kernel.arguments) - inputs - 1
        assert sizes == ["u64"] * inputs + ["u32"] * scalars + ["u64"]
        assert f".reqntid {kernel.threads}\n" in kernel.ptx
        assert kernel.shared_bytes <= SHARED_LIMIT_BYTES
        assert f".target sm_{kernel.target}\n" in kernel.ptx
        version = re.search(r"\.version (\d)\.(\d)", kernel.ptx)
        assert version
        assert int(version[1] + version[2]) <= (
            FROM_100 if kernel.target >= 100 else NEWEST_PTX_VERSION
        )
        assert "/" not in kernel.ptx, "a path or a comment"
        assert not re.search(r"\.loc|\.file|\.section", kernel.ptx)


@pytest.mark.parametrize("name", ["place_picture", "paste_masks"])
def test_what_must_equal_the_cpu_is_rounded_as_there(name: str) -> None:
    for kernel in all_texts(name):
        assert re.search(r"mul\.rn\.f(32|64)", kernel.ptx)
        assert not re.search(r"\b(fma|mad)\.\S*f(32|64)", kernel.ptx)
        assert not re.search(r"\b(mul|add|sub)\.f(32|64)", kernel.ptx), "the driver may fuse it"
        assert not re.search(r"\bdiv\.(full|approx)", kernel.ptx)


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("roi_align_fp16", [75, 80, 80, 80, 90, 100, 100]),
        ("paste_masks", [75, 75, 75, 75, 75, 100, 100]),
        ("window_align", [75] * 7),
    ],
)
def test_a_gpu_gets_the_newest_text_it_can_run(name: str, targets: list[int]) -> None:
    assert [load_kernel(name, capability).target for capability in CAPABILITIES] == targets
    # between and after those that it was compiled for
    assert load_kernel(name, "8.7").target == targets[2]
    assert load_kernel(name, "10.3").target == targets[5]
    assert load_kernel(name, "13.1").target == targets[-1]


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
    with pytest.raises(BuildError, match=r"window_align_sm75\.ptx: not readable"):
        load_kernel("window_align", "8.0", folder)
    (folder / file_name("window_align", 75)).write_text("other")
    with pytest.raises(BuildError, match=r"SHA-256 .* found; expected"):
        load_kernel("window_align", "8.0", folder)


# The command that makes them.


@pytest.mark.parametrize("name", ["mark_runs", "paste_masks"])
def test_a_kernel_is_compiled_to_its_shipped_files(name: str) -> None:
    """One text for all architectures, and two; that all files are current is in the digest."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    if triton.__version__ != manifest()["triton"]:
        pytest.skip(f"the files are of another triton than {triton.__version__}")
    from maskrt.engines.kernels.compile import compile_variant, manifest_entry
    from maskrt.engines.kernels.variants import variants

    (variant,) = (variant for variant in variants() if variant.name == name)
    texts = compile_variant(variant)
    assert manifest_entry(variant, texts) == manifest()["kernels"][name]
    assert [text.ptx for text in texts] == [kernel.ptx for kernel in all_texts(name)]


def test_the_command_writes_the_files_and_takes_older_ones_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from maskrt.engines.kernels import compile as compiler

    def compiled(variant: Any) -> list[compiler.Compiled]:
        shipped = all_texts(variant.name)
        return [compiler.Compiled(k.target, k.ptx, k.shared_bytes) for k in shipped]

    monkeypatch.setattr(compiler, "compile_variant", compiled)
    monkeypatch.setattr("sys.argv", ["compile", "--out", str(tmp_path)])
    (tmp_path / file_name("mark_runs", 120)).write_text("of an older version")
    compiler.main()
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made.pop(MANIFEST) == (FOLDER / MANIFEST).read_bytes()
    assert made == {path.name: path.read_bytes() for path in FOLDER.glob("*.ptx")}


def ptx_with(parameters: int, body: str = "") -> str:
    lines = [f"\t.param .u64 .ptr .global .align 1 k_param_{i}" for i in range(parameters)]
    return ".visible .entry k(\n" + ",\n".join(lines) + "\n)\n{\n" + body + "}\n"


def test_parameters_for_scratch_memory_are_dropped_only_when_unused() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from maskrt.engines.kernels.ptx_text import clean, without_scratch

    assert without_scratch(ptx_with(5), 3) == ptx_with(3)
    for text in (ptx_with(4), ptx_with(5, "ld.param.b64 %rd1, [k_param_4];\n"), ptx_with(5) * 2):
        with pytest.raises(BuildError, match="expected one with 3 and 2 unused pointers"):
            without_scratch(text, 3)
    assert clean(".target sm_90a\n\n  add; // file.py:3\n") == ".target sm_90\n  add;\n"
    with pytest.raises(BuildError, match=r"a line of '\.loc' found"):
        clean("\t.loc 1 2 3\n")


def test_what_ptxas_refuses_is_an_error() -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    from maskrt.engines.kernels.ptx_text import assemble

    with pytest.raises(BuildError, match="PTX for sm_80: ptxas refuses it"):
        assemble(".version 8.0\n.target sm_80\n.address_size 64\nnonsense\n", 80)
