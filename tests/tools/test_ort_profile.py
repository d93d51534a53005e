"""Shares from ONNX Runtime's own profiler."""

from maskrt.tools.ort_profile import _shares


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
    kinds, nodes = _shares([*warm_up, *runs, {"cat": "Session", "name": "x"}], runs=2)
    assert [(s.name, s.ms, s.share) for s in kinds] == [("Conv", 3.0, 0.75), ("Add", 1.0, 0.25)]
    assert nodes[0].name == "Conv a"
