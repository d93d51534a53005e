"""Multiply-accumulates and parameters of an ONNX file, per node and in total.

What papers count, a network's layers (a product with stored weights), is kept apart from products
of two computed tensors: those sit in operator bodies (RoIAlign) and in suppression, are real work
on the portable path, and vanish where a plugin replaces the body. Biases, activations and
interpolation are not counted. Local functions are inlined first, so a body's work is seen.

MACs: Conv out * Cin / groups * kernel; ConvTranspose in * Cout / groups * kernel; Gemm and MatMul
out * contracted length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import onnx
from onnx import TensorProto, inliner, shape_inference

from ..runtime.errors import ExportError
from .operators.domain import DOMAIN

Shape = tuple[int, ...]
Precision = Literal["fp32", "fp16", "int8", "fp8"]

QUANTIZED: dict[int, Precision] = {
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
}
"""What a factor behind DequantizeLinear is multiplied in, by the type that is dequantized."""
_MOVES = {"Cast", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
"""What may stand between DequantizeLinear and a product."""


@dataclass(frozen=True)
class NodeCost:
    """What one node multiplies."""

    name: str
    """The node's name, or its first output where it has none."""
    op_type: str
    macs: int
    """Multiply-accumulates of one run."""
    parameters: int
    """Stored weight and bias values read by the node (shared ones count at their first reader)."""
    weighted: bool
    """True for a layer: one factor is stored in the file."""
    output_shape: Shape
    precision: Precision
    """int8 or fp8 where both factors are dequantized, fp16 where the output is half, else fp32."""


@dataclass(frozen=True)
class GraphCost:
    """The costs of every multiplying node of a model, in graph order."""

    nodes: tuple[NodeCost, ...]

    @property
    def macs(self) -> int:
        """All multiply-accumulates of one run, operator bodies included."""
        return sum(node.macs for node in self.nodes)

    @property
    def layer_macs(self) -> int:
        """Multiply-accumulates of layers with weights: the figure to compare with papers."""
        return sum(node.macs for node in self.nodes if node.weighted)

    @property
    def half_layer_macs(self) -> int:
        """The part of `layer_macs` that is computed in FP16."""
        return sum(node.macs for node in self.nodes if node.weighted and node.precision == "fp16")

    @property
    def half_layer_share(self) -> float:
        """The same as a part of `layer_macs`, 0..1."""
        return self.half_layer_macs / max(self.layer_macs, 1)

    def share_of(self, precision: Precision) -> float:
        """The part of `macs` that is computed in one precision, 0..1."""
        found = sum(node.macs for node in self.nodes if node.precision == precision)
        return found / max(self.macs, 1)

    @property
    def parameters(self) -> int:
        """Weights and biases of the layers; anchors and other constants are none."""
        return sum(node.parameters for node in self.nodes)


def graph_macs(model: onnx.ModelProto) -> GraphCost:
    """Count the multiply-accumulates of one run of a model with static shapes.

    Args:
        model: any ONNX model; local functions are inlined, `model` itself is left alone.

    Raises:
        ExportError: shapes cannot be inferred, or one that is needed is not static.

    """
    return graph_cost(Tensors(inlined(model)))


def graph_cost(tensors: Tensors) -> GraphCost:
    """The same of a graph that is inlined and inferred already."""
    return GraphCost(tuple(_costs(tensors)))


class Tensors:
    """Shapes and types of every tensor of an `inlined` graph, and which are stored or quantized."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.products = [node for node in graph.node if _multiplies(node)]
        """What multiplies, in graph order; `graph_cost` has one cost for each."""
        self.stored: dict[str, Shape] = {t.name: tuple(t.dims) for t in graph.initializer}
        self.types: dict[str, int] = {t.name: t.data_type for t in graph.initializer}
        self.shapes: dict[str, Shape] = dict(self.stored)
        for value in (*graph.input, *graph.value_info, *graph.output):
            self._add(value)
        for node in graph.node:
            # A weight may reach its layer as a Constant node, or through a Cast or Transpose.
            if node.op_type == "Constant" or (
                node.input and all(name in self.stored for name in node.input)
            ):
                self.stored.update({name: self.shapes.get(name, ()) for name in node.output})
        self.quantized: dict[str, Precision] = {}
        for node in graph.node:
            self._add_quantized(node)

    def _add(self, value: onnx.ValueInfoProto) -> None:
        kind = value.type.tensor_type
        self.types[value.name] = kind.elem_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            self.shapes[value.name] = tuple(d.dim_value for d in kind.shape.dim)

    def _add_quantized(self, node: onnx.NodeProto) -> None:
        """What is dequantized stays so through moves of its values."""
        source = node.input[0] if node.input else ""
        found = self.quantized.get(source) if node.op_type in _MOVES else None
        if node.op_type == "DequantizeLinear":
            found = QUANTIZED.get(self.types.get(source, 0))
        if found is not None:
            self.quantized[node.output[0]] = found

    def precision(self, node: onnx.NodeProto) -> Precision:
        """What a product is computed in."""
        factors = {self.quantized.get(name) for name in node.input[:2]}
        if len(factors) == 1 and (found := factors.pop()) is not None:
            return found
        return "fp16" if self.types.get(node.output[0]) == TensorProto.FLOAT16 else "fp32"

    def shape(self, node: onnx.NodeProto, name: str) -> Shape:
        """The static shape of one tensor of a node."""
        if name not in self.shapes:
            raise ExportError(
                f"node '{node.name or node.output[0]}': the shape of '{name}' is not static;"
                " expected fixed shapes everywhere. Export with a fixed canvas and batch."
            )
        return self.shapes[name]


def inlined(model: onnx.ModelProto, keep_operators: bool = False) -> onnx.ModelProto:
    """The model without local functions, every shape that can be inferred filled in.

    Args:
        model: left alone.
        keep_operators: leave the `maskrt` operators as nodes, which plugins compute.

    Raises:
        ExportError: shapes cannot be inferred.

    """
    kept = [(f.domain, f.name) for f in model.functions if keep_operators and f.domain == DOMAIN]
    try:
        flat = inliner.inline_selected_functions(model, kept, exclude=True)
        return shape_inference.infer_shapes(flat, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as err:
        raise ExportError(
            f"{model.graph.name}: shapes cannot be inferred ({err}); expected a valid model."
            " Check the file with onnx.checker."
        ) from err


def _costs(tensors: Tensors) -> Iterator[NodeCost]:
    """One cost per multiplying node; a weight that several nodes share counts once."""
    counted: set[str] = set()
    for node in tensors.products:
        stored = [name for name in node.input if name in tensors.stored]
        own = [name for name in stored if name not in counted]
        counted.update(own)
        yield NodeCost(
            name=node.name or node.output[0],
            op_type=node.op_type,
            macs=_MACS[node.op_type](tensors, node),
            parameters=sum(prod(tensors.shape(node, name)) for name in own),
            weighted=any(name in tensors.stored for name in node.input[:2]),
            output_shape=tensors.shape(node, node.output[0]),
            precision=tensors.precision(node),
        )


def _multiplies(node: onnx.NodeProto) -> bool:
    return node.op_type in _MACS and node.domain in ("", "ai.onnx")


def _conv_macs(tensors: Tensors, node: onnx.NodeProto) -> int:
    # The weight is (Cout, Cin / groups, kernel...): each output reads all but its first axis.
    weight = tensors.shape(node, node.input[1])
    return prod(tensors.shape(node, node.output[0])) * prod(weight[1:])


def _conv_transpose_macs(tensors: Tensors, node: onnx.NodeProto) -> int:
    # The weight is (Cin, Cout / groups, kernel...): each input pixel writes all but its first axis.
    weight = tensors.shape(node, node.input[1])
    return prod(tensors.shape(node, node.input[0])) * prod(weight[1:])


def _gemm_macs(tensors: Tensors, node: onnx.NodeProto) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    contracted = tensors.shape(node, node.input[0])[0 if transposed else 1]
    return prod(tensors.shape(node, node.output[0])) * contracted


def _matmul_macs(tensors: Tensors, node: onnx.NodeProto) -> int:
    return prod(tensors.shape(node, node.output[0])) * tensors.shape(node, node.input[0])[-1]


_MACS: dict[str, Callable[[Tensors, onnx.NodeProto], int]] = {
    "Conv": _conv_macs,
    "ConvTranspose": _conv_transpose_macs,
    "Gemm": _gemm_macs,
    "MatMul": _matmul_macs,
}
