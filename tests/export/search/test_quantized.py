"""The search with INT8: what is ranked, what is kept high, and that nothing is slower for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from maskrt.export.precision.calibration import ranges_over
from maskrt.export.precision.emulation import emulated
from maskrt.export.precision.exemptions import quantizable
from maskrt.export.precision.groups import group_tree
from maskrt.export.precision.mixture import GroupPrecision
from maskrt.export.search.journal import Journal
from maskrt.export.search.search import Found, find_mixture
from maskrt.export.search.times import MeasuredTimes
from maskrt.export.search.trials import Choice, Trials
from maskrt.export.search.verdict import Verdict
from maskrt.runtime.errors import GateError

CHANNELS, LAYERS = 8, 6
PIXELS = 64
LEVELS: tuple[GroupPrecision, ...] = ("fp32", "fp16", "int8")
MS: dict[GroupPrecision, float] = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}

Floats = npt.NDArray[np.float32]


def network(weak: int | None = None) -> onnx.ModelProto:
    """Convolutions and ReLUs in a row; into the layer `weak` one channel comes 1000 times larger.

    The weights behind it are 1000 times smaller: FP32 and FP16 compute the same numbers, and one
    scale for the whole tensor leaves nothing of the other channels.
    """
    rng = np.random.default_rng(0)
    nodes, stored, source = [], [], "x"
    weights = [rng.standard_normal((CHANNELS, CHANNELS, 1, 1)) / 2 for _ in range(LAYERS)]
    if weak is not None:
        weights[weak - 1][0] *= 1000
        weights[weak][:, 0] /= 1000
    for i, weight in enumerate(weights):
        target = "y" if i == LAYERS - 1 else f"t{i}"
        nodes.append(helper.make_node("Conv", [source, f"net.c{i}.weight"], [target], name=f"n{i}"))
        stored.append(numpy_helper.from_array(weight.astype(np.float32), f"net.c{i}.weight"))
        source = target
        if target != "y":
            nodes.append(helper.make_node("Relu", [target], [f"r{i}"], name=f"relu{i}"))
            source = f"r{i}"
    shape = (1, CHANNELS, PIXELS, PIXELS)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "network", values[:1], values[1:], stored)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("maskrt", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def inputs() -> Floats:
    rng = np.random.default_rng(1)
    return rng.standard_normal((1, CHANNELS, PIXELS, PIXELS)).astype(np.float32)


def output(model: onnx.ModelProto) -> Floats:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": inputs()})
    return np.asarray(y, np.float32)


@dataclass
class Error:
    """Mean error of the output as a share of its size; `sure` as a bootstrap would give it."""

    model: onnx.ModelProto
    allowed: float
    sure: Callable[[float], float] = lambda _: 1.0
    asked: list[bool] = field(default_factory=list)

    def __call__(self, model: onnx.ModelProto, *, few: bool) -> Verdict:
        self.asked.append(few)
        exact = output(self.model)
        error = float(np.abs(output(emulated(model)) - exact).mean() / np.abs(exact).mean())
        figures = {"error": error, "moved": error, "sure": self.sure(error)}
        return Verdict(error <= self.allowed, figures)


@dataclass(frozen=True)
class Milliseconds:
    """Each group costs the same, and the whole what `whole` says."""

    by_group: dict[str, dict[GroupPrecision, float]]
    whole: Callable[[Choice], float]
    source: str = "made up"

    def total(self, choice: Choice) -> float:
        return self.whole(choice)


def searched(
    judge: Error,
    journal: Journal | None = None,
    whole: Callable[[Choice], float] | None = None,
    ms: dict[GroupPrecision, float] = MS,
) -> Found:
    model = judge.model
    tree = group_tree(model)
    ranges = ranges_over(model, [{"x": inputs()}], 1)
    by_group = {name: dict(ms) for name in tree.names}
    by_sum = MeasuredTimes(by_group, "made up", 0.0).total
    trials = Trials(model, judge, ranges, journal or Journal(), lambda _: None)
    times = Milliseconds(by_group, whole or by_sum)
    return find_mixture(trials, tree, LEVELS, {"int8": quantizable(model)}, times)


def layers(found: Found, precision: str) -> set[str]:
    return {name for name, level in found.choice.items() if level == precision}


def test_where_int8_passes_as_a_whole_one_candidate_is_enough() -> None:
    found = searched(Error(network(), 0.2))
    assert layers(found, "int8") == {f"net.c{i}" for i in range(LAYERS)}
    assert (found.evaluations, found.few_evaluations) == (1, 0)
    assert found.mac_shares["int8"] == 1.0


@pytest.mark.parametrize("weak", [2, 4])
def test_a_planted_weak_layer_is_the_one_that_stays_high(weak: int) -> None:
    found = searched(Error(network(weak), 0.1))
    assert set(found.costs) == {f"net.c{weak}"}
    assert layers(found, "fp16") == {f"net.c{weak}"}
    assert len(layers(found, "int8")) == LAYERS - 1
    cost = found.costs[f"net.c{weak}"]
    assert cost.wanted == "int8"
    assert cost.put_back is not None
    assert not cost.put_back.passed
    worst = max(found.alone, key=lambda name: found.alone[name]["int8"].moved)
    assert worst == f"net.c{weak}", "alone it is the worst too"


def test_a_gate_that_int8_holds_by_luck_alone_is_not_held() -> None:
    """Of the resampled sets of pictures too few hold it: FP16 changes less and is surer."""
    judge = Error(network(), 0.2, sure=lambda error: 0.5 if error > 0.002 else 1.0)
    found = searched(judge)
    assert found.verdict.sure == 1.0
    assert layers(found, "fp16") == {f"net.c{i}" for i in range(LAYERS)}
    assert not found.tried[0].passed
    assert found.tried[0].verdict.passed, "the gate itself held"


def test_int8_that_makes_the_file_slower_is_left_out() -> None:
    """Each layer would gain, and the conversions between them cost more."""
    found = searched(Error(network(), 0.2), whole=lambda c: sum(p == "int8" for p in c.values()))
    assert layers(found, "int8") == set()


def test_a_group_that_gains_no_time_is_not_tried_in_int8() -> None:
    judge = Error(network(), 0.2)
    found = searched(judge, ms={"fp32": 4.0, "fp16": 2.0, "int8": 2.0})
    assert layers(found, "fp16") == {f"net.c{i}" for i in range(LAYERS)}
    assert found.evaluations == 1


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    model = network(2)
    whole = searched(Error(model, 0.1), Journal(tmp_path / "whole.journal", "k"))

    class Stopped(Exception):
        pass

    class Stopping(Error):
        def __call__(self, model: onnx.ModelProto, *, few: bool) -> Verdict:
            if len(self.asked) == 4:
                raise Stopped
            return super().__call__(model, few=few)

    path = tmp_path / "parts.journal"
    with pytest.raises(Stopped):
        searched(Stopping(model, 0.1), Journal(path, "k"))
    path.write_text(path.read_text() + '{"candidate": "cut in the mid')
    second = Error(model, 0.1)
    resumed = searched(second, Journal(path, "k"))
    assert resumed == whole
    assert len(second.asked) == whole.evaluations + whole.few_evaluations - 4
    assert path.read_text() == (tmp_path / "whole.journal").read_text()


def test_a_journal_of_something_else_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    Journal(path, "one").add("x", Verdict(True, {"a": 1.5}, "", {"a": (1.0, 2.0)}))
    assert Journal(path, "one").known == {"x": Verdict(True, {"a": 1.5}, "", {"a": (1.0, 2.0)})}
    assert Journal(path, "two").known == {}
    assert Journal(path, "one").known == {}


def test_without_fp32_a_network_that_needs_it_is_refused() -> None:
    model = network()
    tree = group_tree(model)
    trials = Trials(model, Error(model, 0.0), {}, Journal(), lambda _: None)
    with pytest.raises(GateError, match=r"in FP16, and that fails the gate.*Add fp32"):
        find_mixture(trials, tree, ("fp16", "int8"), {"int8": frozenset()}, None)
