"""One model in every session that runs on a CPU: the same results, also for many threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt import load
from maskrt.tools.endurance import differing_pictures
from maskrt.tools.endurance import main as endurance
from maskrt.train.shapes.scenes import draw_scene

SESSIONS = ("net.safetensors", "net.onnx", "net.onnx@openvino", "net16.onnx@openvino")


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    return [draw_scene(np.random.default_rng(i)).image for i in range(12)]


@pytest.mark.parametrize("model", SESSIONS)
def test_eight_threads_get_what_one_gets(model: str, chain: Any, pictures: list[Any]) -> None:
    if "openvino" in model:
        pytest.importorskip("openvino", reason="openvino is not installed")
    with load(str(chain.onnx.with_name(model))) as predictor:
        assert any(len(found.scores) for found in predictor.predict(pictures))
        assert differing_pictures(predictor, pictures, 8) == []


def test_the_session_is_told_in_tables_and_json(chain: Any, maskrt: Callable[..., Any]) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    models = (chain.onnx, f"{chain.onnx}@openvino", f"{chain.onnx_fp16}@openvino")
    ran = maskrt("bench", *models, "--data", chain.data, "--samples", 10, "--json")
    assert ran.code == 0, ran.err
    names = [backend["name"] for backend in ran.json["backends"]]
    assert names == ["net.onnx", "net.onnx@openvino", "net16.onnx@openvino"]
    assert [b["backend"] for b in ran.json["backends"]][:2] == ["onnxruntime-cpu", "openvino-cpu"]
    assert "not measured" not in ran.out  # every row found its own accuracy


@pytest.mark.parametrize("model", ["net.onnx@opnvino", "net.safetensors@openvino"])
def test_an_unknown_session_is_bad_usage(
    model: str, chain: Any, maskrt: Callable[..., Any], tmp_path: Path
) -> None:
    ran = maskrt("predict", chain.onnx.with_name(model), chain.data, "--out", tmp_path)
    assert ran.code == 2
    assert "unknown session" in ran.err


def test_a_long_run_leaves_nothing_behind(
    chain: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endurance([str(chain.onnx), "--pictures", "300", "--out", str(tmp_path / "run.json")])
    printed = capsys.readouterr().out.splitlines()
    assert "300 pictures" in printed[0]
    assert "+0 handles; 0 of 16 pictures differ between 1 and 8 threads" in printed[0]
    assert (tmp_path / "run.json").read_text() == printed[1] + "\n"
