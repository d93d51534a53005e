"""The record of floors: a network in every precision, and the floor below what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskrt.tools.measured.records import record
from maskrt.tools.precision import floors


def test_a_network_is_counted_in_every_precision(chain: Any, tmp_path: Path) -> None:
    out = tmp_path / "floors.json"
    assert floors.main([str(chain.onnx), "--out", str(out)]) == 0
    files = json.loads(out.read_text())["files"]
    assert [file["precision"] for file in files] == ["fp32", "fp16", "int8", "fp8"]
    for file in files:
        # the body's products are not eight bits, nor are pixels and predictions
        assert file["mac_shares"][file["precision"]] > 0.5
        assert file["measured"] == []
        assert ("a100" in file["gpus"]) == (file["precision"] != "fp8")
        for ways in file["gpus"].values():
            for found in ways.values():
                assert found["compute_ms"] <= found["floor_ms"] <= found["uncached_ms"]
                assert found["floor_ms"] <= found["copied_ms"]
    full, half, int8, _ = (file["gpus"]["l4"]["plugin"]["floor_ms"] for file in files)
    assert int8 < half < full


def test_no_measured_time_is_below_its_floor() -> None:
    rows = [row for file in record("roofline")["files"] for row in file["measured"]]
    assert len(rows) > 5
    assert all(row["floor_ms"] < row["measured_ms"] for row in rows)
