"""Rule `even_bins`: do not pool the bins that no convolution reads.

    Conv[1x1, stride s] (RoIAlign[step a] (X, rois))  =  Conv[1x1, stride 1] (RoIAlign[step a s] ..)

Proof. A 1x1 convolution of stride s without padding computes its output at (i, j) from its input at
(s i, s j) alone. With step a that is bin (a s i, a s j) of the P x P bins of the box: the bin at
(i, j) with step a s, since a step leaves bins out and does not change the size of those that stay.
Sides agree: ceil(ceil(P / a) / s) = ceil(P / (a s)). When several convolutions read the regions,
g = the greatest common divisor of all strides takes the place of s, and each keeps stride / g. No
product changes, only some are not made: the results are the same numbers.

It saves: of a C5 subnet with its stride in the first 1x1 convolutions (Detectron's MSRA layout), 3
of 4 bins, and the same share of the largest tensor of the network.

It does not apply to torchvision's layout, where conv1 has stride 1, nor to the 3x3 convolutions
of the light subnet: they read every bin.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import Any

import onnx
from onnx import helper

from ..operators.roi_align import ROI_ALIGN
from ..typed_graph import Replacement, TypedGraph, scope_of


def even_bins(graph: TypedGraph) -> Iterator[Replacement | str]:
    """For each RoIAlign what takes its place and its readers', or why every bin is needed."""
    for index, node in enumerate(graph.nodes):
        if node.op_type == ROI_ALIGN:
            yield _refusal(graph, index) or _rewritten(graph, index)


def _refusal(graph: TypedGraph, align: int) -> str:
    """Why the readers of one RoIAlign need every bin; "" where they do not.

    A convolution skips bins that has stored weights, a 1x1 kernel, no padding and a stride.
    """
    readers = _readers(graph, align)
    if not readers or graph.outputs.intersection(graph.nodes[align].output):
        return "the pooled regions are an output of the graph"
    nodes = [graph.nodes[i] for i in readers]
    reason = next(filter(None, (_not_pointwise(graph, node) for node in nodes)), "")
    if not reason and _common_stride(nodes) == 1:
        dense = min(nodes, key=lambda node: min(_strides(node)))
        sides = "x".join(map(str, _strides(dense)))
        reason = f"{_label(dense)} of stride {sides} reads every bin"
    return reason


def _not_pointwise(graph: TypedGraph, node: onnx.NodeProto) -> str:
    """Why bin (i, j) of a reader's result depends on more than one bin; "" where it does not."""
    if node.op_type != "Conv":
        return f"{_label(node)} also reads the regions, a {node.op_type} and no convolution"
    if not all(name in graph.stored for name in node.input[1:] if name):
        return f"{_label(node)} has computed weights"
    kernel = graph.stored[node.input[1]].dims[2:]
    if any(side != 1 for side in kernel):
        return f"{_label(node)} is a {'x'.join(map(str, kernel))} convolution and mixes bins"
    if any(_attribute(node, "pads", ())):
        return f"{_label(node)} pads the regions"
    return ""


def _rewritten(graph: TypedGraph, align: int) -> Replacement:
    """The common stride moved from the convolutions into the RoIAlign's bin step."""
    pooling, readers = graph.nodes[align], _readers(graph, align)
    common = _common_stride([graph.nodes[i] for i in readers])
    step = _attribute(pooling, "bin_step", 1)
    result = {align: _changed(pooling, bin_step=step * common)}
    for i in readers:
        left = [stride // common for stride in _strides(graph.nodes[i])]
        result[i] = _changed(graph.nodes[i], strides=left)
    return result


def _readers(graph: TypedGraph, align: int) -> list[int]:
    """The nodes that read what a RoIAlign pooled, in graph order."""
    return list(dict.fromkeys(graph.consumers.get(graph.nodes[align].output[0], ())))


def _common_stride(convolutions: list[onnx.NodeProto]) -> int:
    """The greatest divisor of every stride, on both axes."""
    return gcd(*(stride for node in convolutions for stride in _strides(node)))


def _strides(convolution: onnx.NodeProto) -> tuple[int, int]:
    """Rows and columns between the bins that a convolution reads."""
    rows, columns = _attribute(convolution, "strides", (1, 1))
    return int(rows), int(columns)


def _attribute(node: onnx.NodeProto, name: str, default: object) -> Any:
    found = (helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(found, default)


def _changed(node: onnx.NodeProto, **values: int | list[int]) -> onnx.NodeProto:
    """A copy of a node with some attributes set anew, its name and metadata kept."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(a for a in node.attribute if a.name not in values)
    copy.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
    return copy


def _label(node: onnx.NodeProto) -> str:
    """What a reader calls a node: its module's path, else its name, else its first output."""
    return scope_of(node) or node.name or str(node.output[0])
