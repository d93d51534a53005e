"""A model's graph as the rules on pooled regions see it: every RoIAlign, and who reads it.

even_bins.py and convolve_first.py look at the same thing, pointwise convolutions that follow
RoIAlign; here are the look-ups that both need, and the one question they share.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper, shape_inference

from ..operators.roi_align import roi_align_nodes
from ..precision.mixed_graph import scope_of

Shape = tuple[int, ...]
Site = tuple[int, ...]
"""One place where a rule may act: the indices of its RoIAlign nodes, in graph order."""

Replacement = dict[int, list[onnx.NodeProto]]
"""The nodes that take the place of the one at an index."""


class PooledGraph:
    """The nodes of a model by index, their readers, and every static shape."""

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        graph = inferred.graph
        self.nodes = list(graph.node)
        self.stored: dict[str, Shape] = {t.name: tuple(t.dims) for t in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.shapes: dict[str, Shape] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = tuple(d.dim_value for d in dims)  # 0 where not static
        pooling = {node.output[0] for node in roi_align_nodes(inferred)}
        self.aligns = [i for i, node in enumerate(self.nodes) if node.output[0] in pooling]
        self._readers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in set(node.input):
                self._readers.setdefault(name, []).append(i)

    def readers(self, align: int) -> list[int]:
        """The nodes that read what a RoIAlign pooled, in graph order."""
        return self._readers.get(self.nodes[align].output[0], [])

    def why_not_pointwise(self, align: int) -> str:
        """Why the readers of one RoIAlign are not all 1x1 convolutions; "" where they are.

        A convolution counts that has stored weights, a 1x1 kernel and no padding: bin (i, j) of
        its output depends on one bin of its input only, (s i, s j) for stride s.
        """
        if self.nodes[align].output[0] in self.outputs or not self.readers(align):
            return "the pooled regions are an output of the graph"
        reasons = (self._refusal(self.nodes[i]) for i in self.readers(align))
        return next((reason for reason in reasons if reason), "")

    def _refusal(self, node: onnx.NodeProto) -> str:
        if node.op_type != "Conv":
            return f"{label(node)} also reads the regions, a {node.op_type} and no convolution"
        if not all(name in self.stored for name in node.input[1:] if name):
            return f"{label(node)} has computed weights"
        kernel = self.stored[node.input[1]][2:]
        if any(side != 1 for side in kernel):
            return f"{label(node)} is a {'x'.join(map(str, kernel))} convolution and mixes bins"
        if any(attributes(node).get("pads", ())):
            return f"{label(node)} pads the regions"
        return ""


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def strides(convolution: onnx.NodeProto) -> tuple[int, int]:
    """Rows and columns between the bins that a convolution reads."""
    rows, columns = attributes(convolution).get("strides", (1, 1))
    return int(rows), int(columns)


def changed(node: onnx.NodeProto, **values: int | list[int]) -> onnx.NodeProto:
    """A copy of a node with some attributes set anew, its name and metadata kept."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    del copy.attribute[:]
    copy.attribute.extend(kept)
    copy.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
    return copy


def label(node: onnx.NodeProto) -> str:
    """What a reader calls a node: its module's path, else its name, else its first output."""
    return scope_of(node) or node.name or str(node.output[0])
