"""An INT8 file as ONNX Runtime's integer kernels for CPUs take it: eight bits from layer to layer.

The kernels read and give uint8, multiply it by int8 and add an int32 bias. Of the file's Q/DQ
(QuantizeLinear, DequantizeLinear), which stand before layers alone, ONNX Runtime makes FP32 layers
on rounded values, slower than the FP32 file. Here every tensor of the plan gets its pair:

    never below 0       uint8, zero point 0; the pair behind a Relu rounds what the Relu read, since
                        uint8 ends at 0 too
    other values        uint8, zero point 128
    bias b              int32, round(b / (scale of the input * scale of the weight)); ONNX Runtime
                        would do it without asking whether int32 has room
    x by flags          both in eight bits, a flag from 0 to 1 in steps of 1/255

Weights and scales stay. The sums of products are exact; what is new against the file is the
rounding of what layers give to sums and FP32 readers.

Source: ONNX Runtime 1.31, core/optimizer/qdq_transformer, whose selectors say what fuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .plan import Plan
from .widened import widen

FLAG_STEP = np.float32(1 / 255)
MOST_STEPS = 2**30
"""Of a bias in int32, which is added to sums of products. A channel whose weights are nearly 0 has
steps too small for that."""

Floats = npt.NDArray[np.float32]


def in_integer_form(model: Any) -> Any:
    """A copy of an INT8 `onnx.ModelProto` without local functions; FP16 in it becomes FP32."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    widen(result)
    _Writer(result).write()
    return result


class _Writer:
    """The graph in the making: its nodes, and what is stored for them."""

    def __init__(self, model: Any) -> None:
        import onnx

        self._onnx = onnx
        self._graph = model.graph
        self._plan = Plan(model)
        self._stored = {t.name: t for t in model.graph.initializer}
        self._nodes: list[Any] = []
        self._made: set[str] = set()

    def write(self) -> None:
        """Replace the graph's nodes and what it stores."""
        for value in self._graph.input:
            self._round_if_planned(value.name)
        for node in list(self._graph.node):
            self._add_rounded(node)
        read = {name for node in self._nodes for name in node.input}
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(t for name, t in self._stored.items() if name in read)

    def _add_rounded(self, node: Any) -> None:
        """One node reading and giving eight bits, as the plan has it."""
        plan, given = self._plan, node.output[0]
        if node.op_type == "QuantizeLinear" or given in plan.read_from:
            return
        if node.op_type == "Relu" and given in plan.integers:
            self._round(given, node.input[0])
            return
        copy = self._onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(node.input):
            copy.input[position] = self._read(node, name)
        if plan.is_layer(node) and len(node.input) > 2 and node.input[2] in plan.values:
            self._use_int32_bias(node, copy)
        self._nodes.append(copy)
        for name in node.output:
            self._round_if_planned(name)

    def _read(self, node: Any, name: str) -> str:
        """What a node reads in place of a tensor."""
        tensor = self._plan.read_from.get(name, name)
        if name in self._plan.read_from or tensor in self._plan.integers:
            return f"{tensor}_u8_dequantized"
        if self._plan.is_flagged(node):
            return self._pair(f"{name}_flag", name, FLAG_STEP, 0)
        return name

    def _round_if_planned(self, name: str) -> None:
        if name in self._plan.scale:
            self._round(name, name)

    def _round(self, name: str, source: str) -> None:
        zero_point = 0 if self._plan.is_never_negative(name) else 128
        self._pair(f"{name}_u8", source, self._plan.scale[name], zero_point)

    def _pair(self, name: str, source: str, scale: np.float32, zero_point: int) -> str:
        """QuantizeLinear and DequantizeLinear, once; gives what the second makes."""
        result = f"{name}_dequantized"
        if result not in self._made:
            self._made.add(result)
            given = [
                self._store(f"{name}_scale", np.array(scale)),
                self._store(f"{name}_zero", np.array(zero_point, np.uint8)),
            ]
            self._add("QuantizeLinear", [source, *given], name)
            self._add("DequantizeLinear", [name, *given], result)
        return result

    def _use_int32_bias(self, layer: Any, copy: Any) -> None:
        """Give a layer's copy its bias as int32; where that has no room, in larger steps."""
        plan, source = self._plan, self._plan.producer[layer.input[1]]
        values = plan.values[layer.input[2]].astype(np.float64)
        input_scale = np.float64(plan.scale[plan.read_from[layer.input[0]]])
        scale = plan.values[source.input[1]]
        enough = np.maximum(scale, np.abs(values) / (input_scale * MOST_STEPS)).astype(np.float32)
        if np.any(enough > scale):
            copy.input[1] = self._weight(source, scale / enough, enough, layer.output[0])
        name, steps = f"{layer.output[0]}_bias", input_scale * enough
        given = [
            self._store(name, np.round(values / steps).astype(np.int32)),
            self._store(f"{name}_scale", np.broadcast_to(steps, values.shape).astype(np.float32)),
        ]
        self._add("DequantizeLinear", given, f"{name}_dequantized", axis=0)
        copy.input[2] = f"{name}_dequantized"

    def _weight(self, source: Any, ratio: Floats, scale: Floats, layer: str) -> str:
        """A weight's copy in steps `1 / ratio` as large; `source` gives it dequantized."""
        axis = next((a.i for a in source.attribute if a.name == "axis"), 1)
        steps = self._plan.values[source.input[0]]
        along = [-1 if i == axis % steps.ndim else 1 for i in range(steps.ndim)]
        name = f"{layer}_weight"
        given = [
            self._store(name, np.round(steps * ratio.reshape(along)).astype(np.int8)),
            self._store(f"{name}_scale", scale),
        ]
        self._add("DequantizeLinear", given, f"{name}_dequantized", axis=axis)
        return f"{name}_dequantized"

    def _store(self, name: str, value: npt.NDArray[Any]) -> str:
        self._stored[name] = self._onnx.numpy_helper.from_array(value, name)
        return name

    def _add(self, op_type: str, read: Sequence[str], made: str, **attributes: Any) -> None:
        make = self._onnx.helper.make_node
        self._nodes.append(make(op_type, read, [made], name=f"{op_type}_{made}", **attributes))
