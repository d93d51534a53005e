"""Which nodes of a graph run as one kernel at best.

A kernel is one node that must read its input as a whole, a product, a choice or a plugin, with all
that follows it value by value: activations, sums, casts, QuantizeLinear, changes of order. What
follows several kernels joins the last of them, as a residual sum joins the convolution that ends
its block. Reductions join value-by-value work before them (a softmax is one kernel), not products.

This is what a compiler could do and none does everywhere: the number of kernels is a floor too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import onnx

VIEWS = frozenset(
    {
        *("Concat", "DequantizeLinear", "Expand", "Flatten", "Identity", "Pad", "Reshape"),
        *("Resize", "Slice", "Split", "Squeeze", "Unsqueeze"),
    }
)
"""Read in the place where their input lies: in part, repeated, or in several pieces."""
POINTWISE = frozenset(
    {
        *("Abs", "Add", "And", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "Cos"),
        *("Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater"),
        *("GreaterOrEqual", "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Less"),
        *("LessOrEqual", "Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow"),
        *("PRelu", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin"),
        *("Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Trilu", "Where", "Xor"),
        # a kernel writes its result in the order in which it is read
        *("DepthToSpace", "SpaceToDepth", "Transpose"),
    }
)
REDUCTIONS = frozenset(
    {
        *("ArgMax", "ArgMin", "AveragePool", "CumSum", "GlobalAveragePool", "GlobalMaxPool"),
        *("InstanceNormalization", "LayerNormalization", "LogSoftmax", "MaxPool", "ReduceL1"),
        *("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"),
        *("ReduceSumSquare", "Softmax"),
    }
)


@dataclass
class Kernel:
    """Nodes that run as one."""

    anchor: onnx.NodeProto
    """The node it is named after: the first that is no view, if any."""
    is_elementwise: bool
    """Whether it computes value by value, reductions apart."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    """In graph order."""


def fused(
    nodes: Iterable[onnx.NodeProto], constant: set[str], apart: Collection[str] = ()
) -> list[Kernel]:
    """The kernels of a graph in the order in which they can run.

    Args:
        nodes: in graph order.
        constant: tensors that are the same in every run; what makes them runs in none.
        apart: operators that are kernels of their own, whatever they follow.

    """
    kernels: list[Kernel] = []
    home: dict[str, int] = {}
    for node in nodes:
        if constant.issuperset(node.output):
            continue
        view = is_view(node, constant)
        light = view or (node.op_type in POINTWISE and node.op_type not in apart)
        before = max((home[name] for name in read_by(node) if name in home), default=None)
        if before is None or not (light or _reduces(node, kernels[before])):
            before = len(kernels)
            kernels.append(Kernel(node, light or node.op_type in REDUCTIONS))
        kernel = kernels[before]
        if is_view(kernel.anchor, constant) and not view:
            kernel.anchor = node
        kernel.nodes.append(node)
        home.update(dict.fromkeys(node.output, before))
    return kernels


def key(node: onnx.NodeProto) -> str:
    """A node by its first output, as names may be missing or repeated."""
    return next(filter(None, node.output))


def read_by(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node reads, those that the body of a Loop or an If names among them."""
    names = list(filter(None, node.input))
    for graph in (a.g for a in node.attribute if a.HasField("g")):
        own = {value.name for value in graph.input} | {t.name for t in graph.initializer}
        own.update(name for inner in graph.node for name in inner.output)
        names += [name for inner in graph.node for name in read_by(inner) if name not in own]
    return list(dict.fromkeys(names))


def is_view(node: onnx.NodeProto, constant: set[str]) -> bool:
    """Whether a node moves no value of its own; a Gather at fixed places is a Slice."""
    fixed = node.op_type == "Gather" and node.input[1] in constant
    return fixed or node.op_type in VIEWS


def _reduces(node: onnx.NodeProto, kernel: Kernel) -> bool:
    return node.op_type in REDUCTIONS and kernel.is_elementwise
