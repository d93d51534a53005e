"""Which nodes compute in FP16, and why: the one table behind every precision pass.

It needs no model-specific names. A node's precision is that of its float outputs. Nodes that only
pass values on, or compute between layers, follow: they are FP16 only while everything they read is,
so coordinates and scores never enter FP16 by accident, and a value leaves FP16 at the latest
possible place, when it is smallest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx

from ..operators.pyramid_roi_align import PYRAMID_ROI_ALIGN
from ..operators.roi_align import ROI_ALIGN
from ..operators.window_align import WINDOW_ALIGN
from ..typed_graph import TypedGraph


@dataclass(frozen=True)
class PolicyLine:
    """One line of the policy; the first that names a node's operator and applies decides."""

    name: str
    op_types: frozenset[str]
    """ONNX operators; empty means any."""
    precision: Literal["fp16", "fp32"]
    when: Literal["always", "weighted", "inputs", "between"]
    """`always`; `weighted`: one factor is stored in the file; `inputs`: every float read is FP16;
    `between`: the same, and the result reaches an FP16 layer."""
    reason: str


def _ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


POLICY: tuple[PolicyLine, ...] = (
    PolicyLine(
        "layers",
        _ops("Conv ConvTranspose Gemm MatMul"),
        "fp16",
        "weighted",
        "nearly all multiply-accumulates; trained weights and activations lie well inside half",
    ),
    PolicyLine(
        "products of computed tensors",
        _ops("Gemm MatMul"),
        "fp32",
        "always",
        "suppression counts and overlaps decide by comparison, so rounding flips detections",
    ),
    PolicyLine(
        "pooled regions",
        _ops(f"{ROI_ALIGN} {PYRAMID_ROI_ALIGN}"),
        "fp16",
        "always",
        "averages of FP16 features; its boxes and weights stay FP32, see operators/",
    ),
    PolicyLine(
        "values passed on",
        _ops(
            "Relu MaxPool Reshape Transpose Flatten Squeeze Unsqueeze Identity Slice Split Concat"
            f" Pad Gather GatherElements GatherND Expand DepthToSpace SpaceToDepth {WINDOW_ALIGN}"
        ),
        "fp16",
        "inputs",
        "these only move or select values: exact in any precision, and half the bytes",
    ),
    PolicyLine(
        "sums between layers",
        _ops("Add Sum Mul AveragePool"),
        "fp16",
        "between",
        "residual sums, branch sums and folded norms keep a network in one type from end to end",
    ),
    PolicyLine(
        "means of whole maps",
        _ops("ReduceMean ReduceSum GlobalAveragePool"),
        "fp32",
        "always",
        "a sum of many activations can leave half range before it is divided",
    ),
    PolicyLine(
        "probabilities",
        _ops("Softmax LogSoftmax Sigmoid"),
        "fp32",
        "always",
        "near 1 half has steps of 0.0005, which ties scores and changes their order",
    ),
    PolicyLine(
        "order and choice",
        _ops("TopK Where Greater GreaterOrEqual Less LessOrEqual Equal ArgMax ReduceMax"),
        "fp32",
        "always",
        "ties and flipped comparisons change which instances come out",
    ),
    PolicyLine(
        "boxes, anchors and pixels",
        frozenset(),
        "fp32",
        "always",
        "coordinates need sub-pixel steps above 1024, where half has none; everything else follows",
    ),
)


def _named(*when: str) -> frozenset[str]:
    """The operators of the lines that apply so."""
    return frozenset(op for line in POLICY if line.when in when for op in line.op_types)


LAYERS = _named("weighted")
"""Layers, where a factor is stored (`TypedGraph.is_weighted`)."""
FOLLOWERS = _named("inputs")
"""What only moves or selects values: halves in, the same halves out."""
BETWEEN_LAYERS = _named("inputs", "between")
"""What values pass through from one layer to the next."""
SUMS = _ops("Add Sum")
"""Where a layer's result meets a shortcut; layers fuse with them."""


def is_layer(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    """Whether a node is a layer with stored weights."""
    return node.op_type in LAYERS and graph.is_weighted(node)


def reaches_layer(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    """Whether a node's result comes to a layer by moves, sums and Relus alone."""
    waiting = list(node.output)
    seen: set[int] = set()
    while waiting:
        for reader in graph.consumers.get(waiting.pop(), ()):
            found = graph.nodes[reader]
            if is_layer(graph, found):
                return True
            if found.op_type in BETWEEN_LAYERS and reader not in seen:
                seen.add(reader)
                waiting += found.output
    return False


def line_for(graph: TypedGraph, node: onnx.NodeProto) -> PolicyLine:
    """The first line of POLICY that names this operator and can apply."""
    for line in POLICY:
        named = not line.op_types or node.op_type in line.op_types
        if named and (line.when != "weighted" or graph.is_weighted(node)):
            return line
    raise AssertionError("the last line of POLICY names every operator")
