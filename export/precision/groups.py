"""What FP16 rounds in a model, by module: the groups that a search for precision chooses from.

A group is a module of the network ("model.backbone.res3.0.conv1"), or a single node where no
module of its own holds it (a residual sum, a RoIAlign). Groups form the tree of module paths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from ..macs import graph_macs
from ..typed_graph import TypedGraph, scope_of
from .fp16 import to_fp16
from .mixed_graph import HALF_MAX
from .policy import FOLLOWERS, is_layer

Kept = frozenset[str]
"""Names of groups in FP32; those of leaves of the tree only."""


@dataclass(frozen=True)
class Group:
    """A branch of the tree of module paths."""

    names: Kept
    """Its leaves, as `to_fp16` takes them for `keep_fp32`."""
    macs: int
    """Multiply-accumulates of its layers, one run."""
    parts: tuple[Group, ...] = ()
    """The dearest first; none for a leaf."""

    def macs_of(self, name: str) -> int:
        """Multiply-accumulates of one of its leaves."""
        if not self.parts:
            return self.macs
        return next(part.macs_of(name) for part in self.parts if name in part.names)


def group_tree(model: onnx.ModelProto) -> Group:
    """All that FP16 rounds in a model, by module path.

    Raises:
        ExportError: the model cannot be converted.

    """
    macs = {cost.name: cost.macs for cost in graph_macs(model).nodes}
    return _branch("", [(scope_of(n), n.name, macs.get(n.name, 0)) for n in _rounding(model)])


def beyond_half(model: onnx.ModelProto) -> set[str]:
    """Names of the layers that FP16 cannot store: a weight or bias would become infinite."""
    graph = TypedGraph(shape_inference.infer_shapes(model))
    return {node.name for node in graph.nodes if _is_beyond_half(graph, node)}


def _rounding(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that compute in FP16, and the layers that cannot: weights beyond half range."""
    names = beyond_half(model)
    half = TypedGraph(to_fp16(model, sorted(names)))
    names |= {
        node.name
        for node in half.nodes
        if node.op_type not in FOLLOWERS | {"Cast"}
        and half.types.get(node.output[0]) == TensorProto.FLOAT16
    }
    return [node for node in model.graph.node if node.name in names]


def _is_beyond_half(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    """Whether a layer's stored values would become infinite."""
    if not is_layer(graph, node):
        return False
    stored = [graph.stored[name] for name in graph.float_inputs(node) if name in graph.stored]
    return any(np.abs(numpy_helper.to_array(t)).max(initial=0) > HALF_MAX for t in stored)


def _branch(path: str, nodes: list[tuple[str, str, int]]) -> Group:
    """The tree below a module path; `nodes` are (module path, node name, MACs) of all within."""
    prefix = f"{path}." if path else ""
    own = [Group(frozenset({name}), macs) for scope, name, macs in nodes if scope == path]
    children: dict[str, list[tuple[str, str, int]]] = {}
    for node in nodes:
        if node[0] != path:
            name = prefix + node[0].removeprefix(prefix).partition(".")[0]
            children.setdefault(name, []).append(node)
    if path and not children:
        return Group(frozenset({path}), sum(macs for _, _, macs in nodes))
    parts = [_branch(child, within) for child, within in children.items()]
    return _joined([*parts, _joined(own)] if own else parts)


def _joined(parts: list[Group]) -> Group:
    """One branch of several, the dearest first: those are tried in FP16 before the others."""
    if len(parts) == 1:
        return parts[0]
    names: Kept = frozenset().union(*(part.names for part in parts))
    ordered = sorted(parts, key=lambda part: -part.macs)
    return Group(names, sum(part.macs for part in parts), tuple(ordered))
