"""Nodes by provider, and the copies that only the profiler sees."""

from __future__ import annotations

from typing import Any

import onnxruntime
import pytest

from maskrt.eval.timing import placement as placement_module
from maskrt.eval.timing.placement import Placement, memcpy_count, placement_of, placement_table
from maskrt.runtime.sessions.ort_session import OrtSession

TELLS = pytest.mark.skipif(
    not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"),
    reason="ONNX Runtime before 1.24 does not tell its placement",
)


@TELLS
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


def test_before_onnx_runtime_1_24_the_cpu_is_not_profiled(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrtSession, "placement", lambda self: {})
    monkeypatch.setattr(OrtSession, "end_profiling", None)
    placement = placement_of(OrtSession(chain.onnx, "cpu"), chain.onnx)
    assert placement == Placement({}, 0)
    assert str(placement) == "not told"


def test_copies_are_counted_in_a_run_under_the_profiler(chain: Any) -> None:
    assert placement_module._memcpy_nodes(chain.onnx, "cpu") == 0


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
