"""Writes Q/DQ pairs and stored eight-bit weights into a graph of FP16 or FP32 types.

What a pair reads and writes has the type of its tensor, and so has its scale, which opset 19
brought for FP16: an FP16 layer gets FP16 from both DequantizeLinear, adds an FP16 bias and needs no
Cast, which is what a strongly typed TensorRT fuses into one INT8 or FP8 kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..operators.domain import STANDARD_DOMAINS
from ..typed_graph import TypedGraph
from .eight_bits import ELEMENT, EightBits, quantized, scale_for, weight_scale
from .placement import Key, Placement

OPSET = 19
"""The first with FP16 scales and FP8."""


def write_quantized(
    typed: TypedGraph, source: TypedGraph, layers: Mapping[str, EightBits], placement: Placement
) -> onnx.ModelProto:
    """The typed model with its layers in eight bits.

    Args:
        typed: what `to_fp16` made of the FP32 model, all types known.
        source: the FP32 model.
        layers: names of the layers, whose weights are stored in `source`.
        placement: of the pairs, in `source`.

    """
    writer = _Writer(typed, source, layers)
    rounded = {
        (source.nodes[index].name, position): (key, placement.range_of(key))
        for (index, position), key in placement.readers.items()
    }
    for node in typed.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position in range(len(node.input)):
            if (node.name, position) in rounded:
                key, largest = rounded[node.name, position]
                copy.input[position] = writer.activation(node, position, key, largest)
        if node.name in layers:
            copy.input[1] = writer.weight(node, layers[node.name])
        writer.nodes.append(copy)
    return writer.model()


def weight_axis(node: onnx.NodeProto, rank: int) -> int:
    """The axis of a layer's stored weight that counts its outputs."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": rank - 1}[node.op_type]


class _Writer:
    """The graph in the making: its nodes, and what stands before them already."""

    def __init__(
        self, typed: TypedGraph, source: TypedGraph, layers: Mapping[str, EightBits]
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._typed = typed
        self._weights = {node.name: node.input[1] for node in source.nodes if len(node.input) > 1}
        self._source = source
        self._stored = dict(typed.stored)
        self._made: set[str] = set()
        kinds = {typed.types[n.input[1]] for n in typed.nodes if n.name in layers}
        self._half = TensorProto.FLOAT16 in kinds

    def activation(self, node: onnx.NodeProto, position: int, key: Key, largest: float) -> str:
        """The name under which an input is read rounded."""
        name, precision = node.input[position], key[1]
        result = f"{name}_{precision}_dequantized"
        if result not in self._made:
            scale = scale_for(largest, precision, half=self._half)
            given = self._store_scale(f"{name}_{precision}", scale, precision, like=name)
            self._add("QuantizeLinear", [name, *given], f"{name}_{precision}", like=node)
            self._add("DequantizeLinear", [f"{name}_{precision}", *given], result, like=node)
        return result

    def weight(self, node: onnx.NodeProto, precision: EightBits) -> str:
        """The name under which a layer reads its weight, stored in eight bits."""
        name = self._weights[node.name]
        result = f"{name}_{precision}_dequantized"
        if result not in self._made:
            values = numpy_helper.to_array(self._source.stored[name]).astype(np.float32)
            axis = weight_axis(node, values.ndim)
            scale = weight_scale(values, axis, precision, half=self._half)
            data = quantized(values, scale, axis, precision)
            self._store(f"{name}_{precision}", ELEMENT[precision], values.shape, data)
            made = f"{name}_{precision}"
            given = self._store_scale(made, scale, precision, like=node.input[1])
            attributes = {"axis": axis} if scale.ndim else {}
            read = [f"{name}_{precision}", *given]
            self._add("DequantizeLinear", read, result, like=node, **attributes)
        return result

    def model(self) -> onnx.ModelProto:
        """All of it at opset 19, without stored values that nothing reads any more."""
        result = onnx.ModelProto()
        result.CopyFrom(self._typed.model)
        del result.graph.node[:], result.graph.initializer[:]
        result.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input} | self._typed.outputs
        result.graph.initializer.extend(t for n, t in self._stored.items() if n in read)
        _raise_opset(result.opset_import)
        for function in result.functions:
            _raise_opset(function.opset_import)
        return result

    def _store_scale(
        self, name: str, scale: npt.NDArray[np.float32], precision: EightBits, like: str
    ) -> list[str]:
        """A scale of the type of the tensor `like`, with its zero point; gives their names."""
        half = self._typed.types[like] == TensorProto.FLOAT16
        kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
        self._store(f"{name}_scale", kind, scale.shape, scale.astype(dtype).tobytes())
        self._store(f"{name}_zero", ELEMENT[precision], scale.shape, bytes(scale.size))
        return [f"{name}_scale", f"{name}_zero"]

    def _store(self, name: str, kind: int, shape: Iterable[int], data: bytes) -> None:
        self._stored[name] = helper.make_tensor(name, kind, [*shape], data, raw=True)

    def _add(
        self, op_type: str, read: list[str], made: str, like: onnx.NodeProto, **attributes: Any
    ) -> None:
        """A node with the module path of the node that reads it."""
        node = helper.make_node(op_type, read, [made], name=f"{op_type}_{made}", **attributes)
        node.metadata_props.extend(like.metadata_props)
        self.nodes.append(node)
        self._made.add(made)


def _raise_opset(imports: Iterable[onnx.OperatorSetIdProto]) -> None:
    """The same operators at opset 19: of those that we write none changed its meaning from 17."""
    for entry in imports:
        if entry.domain in STANDARD_DOMAINS:
            entry.version = max(entry.version, OPSET)
