"""Sessions and their options as a command line names them, from one end to the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_session_is_told_in_tables_and_json(chain: Any, maskrt: Callable[..., Any]) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    models = (chain.onnx, f"{chain.onnx}@openvino,threads=1", f"{chain.onnx_fp16}@openvino")
    ran = maskrt("bench", *models, "--data", chain.data, "--samples", 10, "--json")
    assert ran.code == 0, ran.err
    rows = ran.json["backends"]
    assert [row["name"] for row in rows] == [
        "net.onnx",
        "net.onnx@openvino,threads=1",
        "net16.onnx@openvino",
    ]
    assert [row["backend"] for row in rows][:2] == ["onnxruntime-cpu", "openvino-cpu"]
    assert [(row["device"], row["half_precision"]) for row in rows][:2] == [("cpu", "fp32")] * 2
    assert "not measured" not in ran.out  # every row found its own accuracy


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("net.onnx@opnvino", "unknown session"),
        ("net.safetensors@openvino", "unknown session"),
        ("net.onnx@openvino,contexts=2", "option contexts found"),
        ("net.onnx@onnxruntime,thread=2", "Did you mean threads?"),
        ("net16.engine@tensorrt-4-contexts", "unknown session"),
    ],
)
def test_what_no_session_is_or_obeys_is_bad_usage(
    model: str, message: str, chain: Any, maskrt: Callable[..., Any], tmp_path: Path
) -> None:
    ran = maskrt("predict", chain.onnx.with_name(model), chain.data, "--out", tmp_path)
    assert ran.code == 2
    assert message in ran.err
