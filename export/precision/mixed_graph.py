"""The writer of a mixed FP16/FP32 graph.

fp16.py decides which nodes compute in FP16; here their weights are converted and both worlds
joined with one Cast per tensor and direction, placed before its first reader. Graph inputs and
outputs keep names and types.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...runtime.errors import ExportError
from ..operators.domain import DOMAIN
from ..typed_graph import FP32_INPUTS, TypedGraph

log = logging.getLogger(__name__)

HALF_MAX = float(np.finfo(np.float16).max)


def lift_constants(graph: onnx.GraphProto) -> None:
    """Turn float Constant nodes into initializers, so that there is one kind of stored value."""
    kept = []
    for node in graph.node:
        tensor = _constant_tensor(node) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
        else:
            graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)


def _constant_tensor(node: onnx.NodeProto) -> TensorProto | None:
    """The value of a float Constant node under the node's output name, None for other kinds."""
    attribute = node.attribute[0]
    value = helper.get_attribute_value(attribute)
    if attribute.name in ("value_float", "value_floats"):
        return numpy_helper.from_array(np.asarray(value, np.float32), node.output[0])
    if attribute.name != "value" or value.data_type != TensorProto.FLOAT:
        return None
    tensor = TensorProto()
    tensor.CopyFrom(value)
    tensor.name = node.output[0]
    return tensor


def write_mixed(graph: TypedGraph, half: set[int]) -> onnx.ModelProto:
    """The model with the nodes at the indices `half` in FP16 and all others as they were.

    Value infos are left out: they are to be inferred anew, but for those of our own operators,
    through whose bodies not every shape can be followed. Stored values that half flushes to zero
    are counted in the log.

    Raises:
        ExportError: a stored value that an FP16 node reads is beyond half range.

    """
    return _Writer(graph, half).write()


class _Writer:
    """The mixed graph in the making: nodes so far, Casts so far, how stored values are read."""

    def __init__(self, graph: TypedGraph, half: set[int]) -> None:
        self.graph = graph
        self.half = half
        self.nodes: list[onnx.NodeProto] = []
        self.casts: dict[tuple[str, bool], str] = {}
        self.reads: dict[str, set[bool]] = {name: {False} for name in graph.outputs}
        for i, node in enumerate(graph.nodes):
            for position, name in enumerate(node.input):
                if name in graph.stored and graph.is_float(name):
                    self.reads.setdefault(name, set()).add(self._wants_half(i, position))

    def write(self) -> onnx.ModelProto:
        for i, node in enumerate(self.graph.nodes):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for position, name in enumerate(node.input):
                if self.graph.is_float(name):
                    copy.input[position] = self._read(name, self._wants_half(i, position))
            self.nodes.append(copy)
            if i in self.half:
                self._emit_outputs(copy)
        result = onnx.ModelProto()
        result.CopyFrom(self.graph.model)
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        result.graph.node.extend(self.nodes)
        result.graph.initializer.extend(self._initializers())
        result.graph.value_info.extend(self._own_operators())
        return result

    def _own_operators(self) -> Iterator[onnx.ValueInfoProto]:
        """What is known of the results of the domain's operators, in their new precision."""
        own = {name for n in self.graph.nodes if n.domain == DOMAIN for name in n.output}
        for value in self.graph.model.graph.value_info:
            if value.name in own:
                kept = onnx.ValueInfoProto()
                kept.CopyFrom(value)
                if self._is_half(value.name):
                    kept.type.tensor_type.elem_type = TensorProto.FLOAT16
                yield kept

    def _wants_half(self, index: int, position: int) -> bool:
        fixed = FP32_INPUTS.get(self.graph.nodes[index].op_type, set())
        return index in self.half and position not in fixed

    def _is_half(self, name: str) -> bool:
        return self.graph.producer.get(name) in self.half

    def _read(self, name: str, as_half: bool) -> str:
        """The name under which `name` is read in one precision; adds the Cast when it is new."""
        if name in self.graph.stored:
            return f"{name}_fp16" if as_half and len(self.reads[name]) == 2 else name
        if as_half == self._is_half(name):
            return f"{name}_fp16" if as_half and name in self.graph.outputs else name
        if (name, as_half) not in self.casts:
            self._cast(name, f"{name}_{'fp16' if as_half else 'fp32'}", as_half)
        return self.casts[name, as_half]

    def _cast(self, name: str, target: str, as_half: bool, source: str = "") -> None:
        to = TensorProto.FLOAT16 if as_half else TensorProto.FLOAT
        node = helper.make_node("Cast", [source or name], [target], name=f"cast_{target}", to=to)
        self.nodes.append(node)
        self.casts[name, as_half] = target

    def _emit_outputs(self, copy: onnx.NodeProto) -> None:
        """A graph output keeps its name and FP32; the FP16 value behind it gets another name."""
        for position, name in enumerate(copy.output):
            if name in self.graph.outputs and self.graph.is_float(name):
                copy.output[position] = f"{name}_fp16"
                self._cast(name, name, as_half=False, source=f"{name}_fp16")

    def _initializers(self) -> Iterator[TensorProto]:
        """Stored tensors in the precisions that are read."""
        flushed = total = 0
        for name, tensor in self.graph.stored.items():
            reads = self.reads.get(name, {False})
            if False in reads:
                yield tensor
            if True in reads:
                values = numpy_helper.to_array(tensor)
                halves = _half_values(name, values)
                flushed += int(np.count_nonzero((halves == 0) & (values != 0)))
                total += values.size
                yield numpy_helper.from_array(halves, self._read(name, True))
        log.info("FP16: %d of %d stored values are too small for half and became 0", flushed, total)


def _half_values(name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round to half, refusing values that would become infinite."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        worst = float(np.abs(values).max())
        raise ExportError(
            f"weight '{name}': {worst:g} found; half reaches {HALF_MAX:g}. Name its module in"
            " keep_fp32, or export in FP32."
        )
    return halves
