"""Shares from ONNX Runtime's own profiler."""

import json
from typing import Any

import pytest

from maskrt.tools.ort_profile import main, shares


def _event(name: str, kind: str, dur_us: float) -> dict[str, object]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "dur": dur_us,
        "args": {"op_name": kind},
    }


def test_times_are_per_run_without_the_warm_up() -> None:
    warm_up = [_event("a", "Conv", 9e6), _event("b", "Add", 9e6)]
    runs = [_event("a", "Conv", 3000), _event("b", "Add", 1000)] * 2
    kinds, nodes = shares([*warm_up, *runs, {"cat": "Session", "name": "x"}], runs=2)
    assert [(s.name, s.ms, s.share) for s in kinds] == [("Conv", 3.0, 0.75), ("Add", 1.0, 0.25)]
    assert nodes[0].name == "Conv a"


def test_a_models_nodes_are_profiled(chain: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(chain.onnx), "--runs", "2", "--rows", "4"]) == 0
    *tables, line = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert len(tables) == 2 + 8
    assert {len(rows) for rows in found.values()} == {4}
    shares_of_kinds = [row["share"] for row in found["kinds"]]
    assert shares_of_kinds == sorted(shares_of_kinds, reverse=True)
    assert 0.3 < sum(shares_of_kinds) <= 1
