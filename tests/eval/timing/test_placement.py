"""Nodes by provider, and the copies that only the profiler sees."""

from __future__ import annotations

from typing import Any

import pytest

from maskrt.eval.timing.placement import Placement, memcpy_count, placement_of, placement_table
from maskrt.runtime.sessions.ort_session import OrtSession


def test_on_the_cpu_every_node_has_one_place(chain: Any) -> None:
    import onnx

    session = OrtSession(chain.onnx, "cpu")
    placement = placement_of(session, chain.onnx)
    assert placement is not None
    assert set(placement.nodes) == {"cpu"}
    # ONNX Runtime assigns after its first rewrites, so the file's own count is only near
    assert placement.nodes["cpu"] >= len(onnx.load(chain.onnx).graph.node) // 4
    assert placement.memcpy == 0
    assert str(placement) == f"{placement.nodes['cpu']}: cpu {placement.nodes['cpu']}"


def test_an_unknown_placement_is_counted_under_the_profiler(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before ONNX Runtime 1.24, and wherever several providers share a graph."""
    monkeypatch.setattr(OrtSession, "placement", lambda self: {})
    placement = placement_of(OrtSession(chain.onnx, "cpu"), chain.onnx)
    assert placement == Placement({}, 0)
    assert str(placement) == "not told"


def test_copy_nodes_are_counted_once_each() -> None:
    def event(name: str, kind: str, cat: str = "Node") -> dict[str, Any]:
        return {"cat": cat, "name": name, "args": {"op_name": kind}}

    events = [
        event("Memcpy_1_kernel_time", "MemcpyToHost"),
        event("Memcpy_1_kernel_time", "MemcpyToHost"),
        event("Memcpy_2_kernel_time", "MemcpyFromHost"),
        event("conv_kernel_time", "Conv"),
        event("run", "MemcpyToHost", cat="Session"),
        {"cat": "Session", "name": "model_loading"},
    ]
    assert memcpy_count(events) == 2


def test_other_sessions_have_no_placement(scripted: Any, tmp_path: Any) -> None:
    assert placement_of(scripted().session, tmp_path / "a.engine") is None


def test_the_table_shows_rows_of_onnxruntime_only() -> None:
    from types import SimpleNamespace

    rows: list[Any] = [
        SimpleNamespace(name="a.onnx", backend="onnxruntime-cuda", first_call_ms=1234.56),
        SimpleNamespace(name="a.engine", backend="tensorrt", first_call_ms=1.0),
    ]
    table = placement_table(rows, {"a.onnx": Placement({"cuda": 200, "cpu": 3}, 5)})
    assert table.rows == (("a.onnx", "onnxruntime-cuda", "203: cuda 200, cpu 3", "5", "1234.6"),)
