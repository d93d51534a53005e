"""The search on chains of small layers: what it finds, and with how few evaluations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from maskrt.export.precision.emulation import emulated
from maskrt.export.precision.fp16 import to_fp16
from maskrt.export.precision.groups import group_tree
from maskrt.export.search.journal import Journal
from maskrt.export.search.search import Found, find_mixture
from maskrt.export.search.trials import Trials
from maskrt.export.search.verdict import Judge, Verdict
from maskrt.export.typed_graph import scope_of
from maskrt.runtime.errors import GateError

STAGES, LAYERS = 4, 8
LEVELS = 2 + 3
"""Halvings from the whole chain to one of its layers: of four stages, of eight layers."""


def chain(weights: list[float] | None = None) -> onnx.ModelProto:
    """1x1 convolutions in a row, eight to a stage; `weights` takes the place of 32 ones."""
    values = weights or [1.0] * (STAGES * LAYERS)
    nodes, stored = [], []
    for i, value in enumerate(values):
        source = f"t{i - 1}" if i else "x"
        target = "y" if i == len(values) - 1 else f"t{i}"
        node = helper.make_node("Conv", [source, f"w{i}"], [target], name=f"node{i}")
        stage = f"net.stage{i // LAYERS}"
        path = f": pkg.Net/{stage}: pkg.Stage/{name_of(i)}: torch.nn.Conv2d/conv2d: aten.conv2d"
        node.metadata_props.add(key="namespace", value=path)
        nodes.append(node)
        weight = np.full((1, 1, 1, 1), value, np.float32)
        stored.append(numpy_helper.from_array(weight, f"w{i}"))
    shape = (1, 1, 2, 2)
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        stored,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("maskrt", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def name_of(layer: int) -> str:
    return f"net.stage{layer // LAYERS}.layer{layer}"


def names_of(*layers: int) -> set[str]:
    return {name_of(layer) for layer in layers}


ALL = names_of(*range(STAGES * LAYERS))


def in_half(model: onnx.ModelProto) -> set[str]:
    """The layers of a candidate whose result is rounded to half."""
    return {
        scope_of(node)
        for node in emulated(model).graph.node
        if node.op_type == "Conv" and node.output[0].endswith("_unrounded")
    }


@dataclass
class Counting:
    """A metric that looks at which layers are FP16, and keeps what it was shown."""

    is_good: Callable[[set[str]], bool]
    shown: list[set[str]] = field(default_factory=list)

    def __call__(self, model: onnx.ModelProto, *, few: bool) -> Verdict:
        half = in_half(model)
        if not few:
            self.shown.append(half)
        good = self.is_good(half)
        return Verdict(good, {"matched": 1.0 if good else 0.0})


def bisected(
    model: onnx.ModelProto, judge: Judge, say: Callable[[str], None] = lambda _: None
) -> Found:
    """The search with two precisions."""
    trials = Trials(model, judge, {}, Journal(), say)
    return find_mixture(trials, group_tree(model), ("fp32", "fp16"))


def test_groups_are_modules_by_their_paths() -> None:
    tree = group_tree(chain())
    assert tree.names == ALL
    assert [len(stage.names) for stage in tree.parts] == [LAYERS] * STAGES
    assert tree.macs == STAGES * LAYERS * 4


@pytest.mark.parametrize(
    "culprits", [(), (0,), (31,), (13,), (6, 7), (7, 8), (0, 31), (3, 11, 20, 29), (8, 9, 10, 11)]
)
def test_exactly_the_culprits_are_found_within_a_few_evaluations(culprits: tuple[int, ...]) -> None:
    bad = names_of(*culprits)
    metric = Counting(lambda half: not half & bad)
    found = bisected(chain(), metric)
    assert set(found.costs) == bad
    assert found.verdict.passed
    assert found.fastest.passed == (not bad)
    assert len(found.choice) == 32
    # FP16 as it is and FP32; two per halving and culprit; back alone.
    assert found.evaluations == len(metric.shown) <= 2 + len(bad) * (2 * LEVELS + 1)
    assert found.few_evaluations == len(bad), "each alone, for the report"
    assert found.mac_shares["fp16"] == pytest.approx(1 - len(bad) / 32)


def test_no_set_of_groups_is_run_twice() -> None:
    metric = Counting(lambda half: not half & names_of(5, 21))
    bisected(chain(), metric)
    assert len({frozenset(half) for half in metric.shown}) == len(metric.shown)


def test_of_two_groups_that_fail_only_together_one_stays() -> None:
    pair = names_of(2, 27)
    found = bisected(chain(), Counting(lambda half: not pair <= half))
    assert len(found.costs) == 1
    assert set(found.costs) < pair
    (cost,) = found.costs.values()
    assert cost.alone.passed, "alone it does no harm"
    assert cost.put_back is not None
    assert not cost.put_back.passed


def test_a_group_that_helps_only_beside_another_is_found_with_it() -> None:
    """A layer in FP32 gains nothing while its reader still rounds its input: both or neither."""
    pair = names_of(12, 13)

    def is_good(half: set[str]) -> bool:
        return not half & pair

    found = bisected(chain(), Counting(is_good))
    assert set(found.costs) == pair
    assert not any(cost.put_back.passed for cost in found.costs.values() if cost.put_back)


def test_sums_of_small_losses_stop_at_what_the_gate_allows() -> None:
    """Every layer costs the same and the gate allows 30 of 32 in FP16: two stay, not one more."""
    found = bisected(chain(), Counting(lambda half: len(half) <= 30))
    assert len(found.costs) == 2


def test_a_verdict_that_is_not_monotone_still_ends_with_a_set_that_passes() -> None:
    """Layer 4 in FP16 makes up for layer 20 in FP16."""

    def is_good(half: set[str]) -> bool:
        return name_of(20) not in half or (name_of(4) in half and len(half) < 32)

    metric = Counting(is_good)
    found = bisected(chain(), metric)
    assert found.verdict.passed
    assert is_good(ALL - set(found.costs))
    for name in found.costs:
        assert not is_good(ALL - (set(found.costs) - {name})), f"{name} could go"


def test_a_loss_in_fp32_itself_ends_the_search() -> None:
    metric = Counting(lambda _: False)
    with pytest.raises(GateError, match="with every node group in FP32, and that fails the gate"):
        bisected(chain(), metric)
    assert len(metric.shown) == 2


def test_a_model_that_needs_fp32_everywhere_is_said_to_gain_nothing() -> None:
    with pytest.raises(GateError, match="only with all 32 node groups in FP32"):
        bisected(chain(), Counting(lambda half: not half))


def test_every_evaluation_is_told() -> None:
    lines: list[str] = []
    metric = Counting(lambda half: name_of(9) not in half)
    found = bisected(chain(), metric, lines.append)
    assert len(lines) == found.evaluations + found.few_evaluations
    assert lines[0] == "1: 32 of 32 groups in FP16: matched 0.0000, fails"
    assert lines[1] == "2: 32 of 32 groups in FP32: matched 1.0000, passes"


def largest_error(model: onnx.ModelProto, *, few: bool) -> Verdict:
    """The metric of the two tests below: relative error against FP32's exact answer, 1."""
    copy = emulated(model).SerializeToString()
    session = ort.InferenceSession(copy, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.ones((1, 1, 2, 2), np.float32)})
    error = float(np.abs(y - 1).max())
    return Verdict(error < 0.01, {"error": error})


def test_a_weight_beyond_half_is_found_and_never_run_in_half() -> None:
    weights = [1.0] * 32
    weights[17], weights[18] = 2.0**20, 2.0**-20
    found = bisected(chain(weights), largest_error)
    assert set(found.costs) == names_of(17, 18)
    assert found.fastest.figures == {}
    assert found.fastest.reason == "weight 'w17': 1.04858e+06 found"
    repaired = to_fp16(chain(weights), sorted(found.costs))
    stored = {t.name: t.data_type for t in repaired.graph.initializer}
    assert [stored[f"w{i}"] for i in (16, 17, 18, 19)] == [
        TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT16,
    ]  # fmt: skip


@pytest.mark.parametrize("power", [17, -26], ids=["overflow", "underflow"])
def test_values_out_of_half_are_found_where_all_weights_fit(power: int) -> None:
    """Two layers of 2^(power / 2) in a row; half ends at 2^16 and 2^-25."""
    weights = [1.0] * 32
    first = power // 2
    weights[3], weights[4] = 2.0**first, 2.0 ** (power - first)
    weights[5], weights[6] = 2.0**-first, 2.0 ** (first - power)
    found = bisected(chain(weights), largest_error)
    assert found.fastest.figures, "it ran"
    assert set(found.costs) == names_of(4, 5)
