"""The main job: `maskrt demo` exports, builds, measures, gates and reports the shipped networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from maskrt.runtime.gpu.cuda import missing_device
from maskrt.workflows.demo import OVERLAYS, SHIPPED, _engine_runtime, _Measured, _opens


@pytest.mark.skipif(missing_device() is None, reason="there is a GPU here")
def test_an_engine_that_does_not_open_has_a_sentence_instead_of_rows(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TensorRT-RTX on a data-centre GPU; a TensorRT that does not load builds nothing either."""
    found = _Measured()
    assert not _opens(chain.engine, found)
    (sentence,) = found.refused
    assert sentence.startswith(f"Without rows for {chain.engine.name}: ")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("maskrt.runtime.gpu.cuda.missing_device", lambda: None)
    assert _engine_runtime() == "tensorrt-rtx"


@pytest.mark.slow
def test_every_gate_passes_and_every_artefact_is_there(demo: Any) -> None:
    assert demo.ran.code == demo.ran.json["exit_code"] == 0, demo.ran.out
    assert "Parity gates passed: 6 of 6." in demo.ran.out or missing_device() is None
    for name in SHIPPED:
        for end in ("-fp32.onnx", "-fp16.onnx", "-fp16.engine", "-fp16.engine.json"):
            assert (demo.out / f"{name}{end}").stat().st_size > 1000
        assert len(list((demo.out / "pictures" / name).glob("*.jpg"))) == OVERLAYS
    assert [Path(path).name for path in demo.ran.json["engines"]] == [
        f"{name}-fp16.engine" for name in SHIPPED
    ]


@pytest.mark.slow
def test_accuracy_is_of_trained_networks(demo: Any) -> None:
    accuracy = demo.ran.json["accuracy"]
    assert accuracy["lsc_mask_rcnn_tiny.safetensors"]["box"]["AP"] > 35
    assert accuracy["fastmask_tiny.safetensors"]["mask"]["AR@100"] > 25
    for name in SHIPPED:
        kinds = {f"{name}.safetensors", f"{name}-fp32.onnx", f"{name}-fp16.onnx"}
        assert kinds <= set(accuracy)


@pytest.mark.slow
def test_the_report_holds_what_was_measured(demo: Any) -> None:
    page = Path(demo.ran.json["report"])
    report = json.loads(page.with_suffix(".json").read_text())
    measured = {row["name"]: row for row in report["accuracy"]}
    told = demo.ran.json["accuracy"]
    assert {name: row["box"] for name, row in measured.items()} == {
        name: values["box"] for name, values in told.items()
    }
    rows = [backend["name"] for backend in report["latency"]["backends"]]
    assert {f"{name}-fp32.onnx" for name in SHIPPED} <= set(rows)
    html = page.read_text()
    assert all(name in html for name in (*SHIPPED, *rows))
    for part in ("Physical floor", "Precision map", f"maskrt build {demo.out}/{SHIPPED[0]}-fp16"):
        assert part in html
    assert {one["name"] for one in report["precision"]} == {f"{n}-fp16.onnx" for n in SHIPPED}
    assert page.with_suffix(".md").read_text().startswith("# maskrt demo")
