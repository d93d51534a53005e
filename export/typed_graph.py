"""A model's graph as the passes over it see it: who makes and reads a tensor, of which type.

Also where a node comes from: torch's dynamo exporter writes the path of its module.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import TensorProto

from .operators.pyramid_roi_align import PYRAMID_ROI_ALIGN
from .operators.roi_align import ROI_ALIGN

MODULE_PATH_KEY = "namespace"
"""The exporter's metadata entry that holds it."""
FP32_INPUTS = {ROI_ALIGN: {1}, PYRAMID_ROI_ALIGN: {1}}
"""Inputs that stay FP32 at an FP16 node: 11 bits cannot hold box coordinates."""

FLAG_OPERATORS = {
    *("Mul", "Sub", "Slice", "Unsqueeze", "Reshape", "AveragePool", "Clip", "Max", "Reciprocal")
}
"""What flags, 0 or 1 each, go through before they mark the cells of a map."""

Replacement = dict[int, onnx.NodeProto]
"""What a rule puts in the place of nodes, by their indices."""


class TypedGraph:
    """A model's graph with the look-ups that rules and precision need."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.stored = {t.name: t for t in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.types = {name: t.data_type for name, t in self.stored.items()}
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            self.types[value.name] = value.type.tensor_type.elem_type
        self.producer = {name: i for i, n in enumerate(self.nodes) for name in n.output if name}
        self.consumers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in node.input:
                self.consumers.setdefault(name, []).append(i)
        self.constant = _constant_names(self.nodes, self.stored)
        self.flags = self._flag_names()

    def _flag_names(self) -> set[str]:
        """Floats made of comparisons alone: 0 and 1, their products, cut-outs and means."""
        names: set[str] = set()
        for node in self.nodes:
            flags = [name for name in node.input if name in names]
            others = [n for n in node.input if self.is_float(n) and n not in self.constant]
            made = node.op_type in FLAG_OPERATORS and flags == others != []
            cast = node.op_type == "Cast" and self.types.get(node.input[0]) == TensorProto.BOOL
            if made or (cast and self.is_float(node.output[0])):
                names.update(node.output)
        return names

    def float_inputs(self, node: onnx.NodeProto) -> list[str]:
        """The float inputs that share the node's precision."""
        fixed = FP32_INPUTS.get(node.op_type, set())
        return [n for p, n in enumerate(node.input) if self.is_float(n) and p not in fixed]

    def is_float(self, name: str) -> bool:
        """Whether a tensor is FP32 in the source model."""
        return self.types.get(name) == TensorProto.FLOAT

    def is_weighted(self, node: onnx.NodeProto) -> bool:
        """Whether the node is a layer: a stored factor, and not a constant of plain code.

        A product with a stored matrix that the exporter places outside every module (a running
        count by a triangle of ones, say) is no layer.
        """
        factors = node.input[1:2] if "Conv" in node.op_type else node.input[:2]
        stored = any(name in self.constant and self.is_float(name) for name in factors)
        return stored and ("Conv" in node.op_type or _declared_scope(node) != "")


def _constant_names(nodes: Iterable[onnx.NodeProto], stored: Iterable[str]) -> set[str]:
    """Tensors that are the same in every run: stored ones and what is computed from them alone."""
    names = set(stored)
    for node in nodes:
        if node.input and all(name in names or not name for name in node.input):
            names.update(node.output)
    return names


def scope_of(node: onnx.NodeProto) -> str:
    """The path of the module that a node comes from, "" for the root or where nothing says.

    Read from torch's dynamo exporter's metadata ("backbone.conv1"), else from a name like
    "/backbone/conv1/Conv", else from the name of a stored input ("backbone.conv1.weight"): the
    conversion to another opset drops the metadata.
    """
    declared = _declared_scope(node)
    if declared is not None:
        return declared
    return next((name.rpartition(".")[0] for name in node.input[1:2] if "." in name), "")


def _declared_scope(node: onnx.NodeProto) -> str | None:
    """The module path the exporter wrote, None where it wrote none."""
    for entry in node.metadata_props:
        if entry.key == MODULE_PATH_KEY:
            # ": pkg.Net/backbone: pkg.Block/backbone.conv1: torch...Conv2d/conv2d: aten.conv2d":
            # "path: class" of each module from the root, then the call.
            modules = entry.value.split("/")[:-1]
            return modules[-1].partition(": ")[0] if modules else ""
    return ".".join(node.name.split("/")[1:-1]) if node.name.startswith("/") else None
