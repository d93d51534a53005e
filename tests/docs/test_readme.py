"""The README is true: its commands and its snippet run, its figures are those of the records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import Chain, Ran
from .conftest import README, ROOT, commands, fences

TEXT = README.read_text(encoding="utf-8")
CHAIN = ["predict", "train", "export", "build", "eval", "bench"]


def record(name: str) -> dict[str, object]:
    read: dict[str, object] = json.loads((ROOT / "eval" / "records" / f"{name}.json").read_text())
    return read


def test_it_is_a_screen_and_a_half() -> None:
    assert len(TEXT.splitlines()) <= 85


def test_the_chain_runs_as_written(
    after_demo: Path,
    chain: Chain,
    maskrt: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only what takes long is changed: `train` and `bench` get the narrow network of `chain`."""
    monkeypatch.chdir(after_demo)
    shown = commands(TEXT)
    assert [words[0] for words in shown] == CHAIN
    for words in shown:
        if words[0] == "train":
            words[1:2] = chain.recipe
        if words[0] == "bench":
            words[1:3] = [str(chain.checkpoint), f"{chain.onnx_fp16}@openvino"]
            words += ["--samples", "4"]
        ran = maskrt(*words)
        assert ran.code == 0, (words, ran.err)
    for made in ("run/model.safetensors", "model.onnx", "model.engine", "model.engine.json"):
        assert (after_demo / "out" / made).is_file()


def test_the_snippet_runs_as_written(
    after_demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(after_demo)
    (snippet,) = fences(TEXT, "python")
    found: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), found)
    assert "'segmentation'" in capsys.readouterr().out


def test_its_make_targets_and_extras_exist() -> None:
    targets = set(re.findall(r"^make (\w+)", TEXT, flags=re.MULTILINE))
    assert targets == {"demo", "test"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_its_accuracy_claim_is_the_record_s() -> None:
    worst = {"fp32": 0.0, "fp16": 0.0}
    for hop in record("demo_cpu")["hops"]:
        changes = [*hop["parity"]["box_changes"].values(), *hop["parity"]["mask_changes"].values()]
        worst[hop["precision"]] = max(worst[hop["precision"]], *map(abs, changes))
    assert worst["fp32"] <= 0.001
    assert f"FP16 by {worst['fp16']:.2f}" in TEXT


def test_its_speed_claims_are_the_records() -> None:
    median = {
        row["name"]: row["summaries"]["model"]["p50_ms"]
        for row in record("full_size_cpu")["backends"]
    }
    ours = median["framework1.onnx"]
    assert f"{median['baseline.onnx'] / ours:.1f}x as fast as its baseline" in TEXT
    assert (
        f"{median['framework1.safetensors@torch'] / ours:.1f}x as fast there as in PyTorch" in TEXT
    )
    speedups = [
        row["speedup"]["value"]
        for case in record("operators_cpu")["cases"]
        for row in case["rows"]
        if "matmul" in row["name"]
    ]
    assert f"{min(speedups):.1f}x to {max(speedups):.1f}x as fast as ONNX Runtime's own" in TEXT


def test_its_claim_of_the_kernel_on_a_gpu_is_the_record_s() -> None:
    ms = {r["name"]: r["summary"]["p50_ms"] for r in record("gpu_h100")["cases"][0]["rows"]}
    fp32, fp16 = (
        ms[f"torchvision, CUDA {p}"] / ms[f"PTX kernel, CUDA {p}"] for p in ("FP32", "FP16")
    )
    assert f"RoIAlign {fp32:.1f}x (FP32) and {fp16:.1f}x (FP16) as fast as torchvision" in TEXT


def test_its_endurance_claim_is_the_record_s() -> None:
    run = record("endurance_cpu")
    assert f"{run['pictures']:,} pictures" in TEXT
    assert f"({100 * run['growth']:+.3f} %)" in TEXT
    assert (run["threads"], run["differing_pictures"]) == (8, [])
