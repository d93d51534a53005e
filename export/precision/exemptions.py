"""Which layers INT8 and FP8 take, and which an export leaves out by default, each with its reason.

`REFUSALS` hold for every search and every export; `EXEMPTIONS` are what `maskrt export` adds where
nobody chose layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import onnx
from onnx import shape_inference

from ..typed_graph import TypedGraph, scope_of
from .eight_bits import EightBits
from .groups import group_tree
from .policy import is_layer, reaches_layer

MOST_TAPS_FP8 = 32


@dataclass(frozen=True)
class Exemption:
    """Layers that are left out; the first exemption that applies gives the reason."""

    name: str
    applies: Callable[[TypedGraph, onnx.NodeProto], bool]
    reason: str


def _has_computed_weight(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    return node.input[1] not in graph.stored


def _is_wide(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    weight = graph.stored.get(node.input[1])
    return "Conv" in node.op_type and weight is not None and prod(weight.dims[2:]) >= MOST_TAPS_FP8


def _reads_pixels(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    """Whether no layer stands before it."""
    waiting = [node.input[0]]
    seen: set[int] = set()
    while waiting:
        source = graph.producer.get(waiting.pop())
        if source is None or source in seen:
            continue
        seen.add(source)
        if is_layer(graph, graph.nodes[source]):
            return False
        waiting += graph.nodes[source].input
    return True


def _predicts(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    return not reaches_layer(graph, node)


_COMPUTED = Exemption(
    "computed weights",
    _has_computed_weight,
    "they would be rounded at run time, with one scale for all channels",
)
REFUSALS: dict[EightBits, tuple[Exemption, ...]] = {
    "int8": (_COMPUTED,),
    "fp8": (
        _COMPUTED,
        Exemption(
            "wide kernels",
            _is_wide,
            "NVIDIA's Model Optimizer leaves them out: TensorRT has no FP8 convolution of 32 taps",
        ),
    ),
}
EXEMPTIONS: tuple[Exemption, ...] = (
    Exemption(
        "pixels",
        _reads_pixels,
        "its rounding goes through every layer, for 3 % of LSC tiny's MACs and 10 % of FastMask's",
    ),
    Exemption(
        "predictions",
        _predicts,
        "scores and boxes are read as they stand, and are 1 % of the MACs; LSC tiny's mask branch "
        "ends here too, 3 %",
    ),
)
"""No matter of the gate, which all layers in INT8 pass too: LSC tiny matches 0.75 of its instances
with them and 0.68 without."""


def left_out(
    graph: TypedGraph, precision: EightBits, exemptions: Sequence[Exemption] = EXEMPTIONS
) -> dict[str, str]:
    """By name, the layers that do not become INT8 or FP8, and the exemption that keeps them so."""
    rules = (*REFUSALS[precision], *exemptions)
    layers = [node for node in graph.nodes if is_layer(graph, node)]
    applying = {n.name: [e.name for e in rules if e.applies(graph, n)] for n in layers}
    return {name: found[0] for name, found in applying.items() if found}


def quantizable(model: onnx.ModelProto, precision: EightBits = "int8") -> frozenset[str]:
    """The leaf groups of an FP32 model that have a layer which INT8 or FP8 can take."""
    graph = TypedGraph(shape_inference.infer_shapes(model))
    refused = left_out(graph, precision, exemptions=())
    names = group_tree(model).names
    layers = [n for n in graph.nodes if is_layer(graph, n) and n.name not in refused]
    return names & {name for node in layers for name in (scope_of(node), node.name)}
