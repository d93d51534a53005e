"""Which tensors of an INT8 file integer kernels give and read, with their scales.

The file rounds what layers read, and nothing behind them. A kernel gives eight bits too, so what
comes out of an INT8 layer, behind its Relu, is rounded as well: in the scale that the file has for
it, else in that of its range (`RANGES_KEY`). So is a sum of two rounded tensors. Everybody reads
them rounded. A tensor of which nothing is known stays FP32, and so does the layer that makes it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

RANGES_KEY = "maskrt.ranges"
"""Metadata of an INT8 file: JSON, by tensor the largest |x| of what layers and sums read and give.
"""
LARGEST = 127.0
LAYERS = {"Conv", "Gemm", "MatMul"}
"""ONNX Runtime has no integer ConvTranspose."""
MOVES = {
    *("MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice"),
    *("Concat", "DepthToSpace", "SpaceToDepth"),
}
"""They commute with rounding by one scale."""
NEVER_NEGATIVE = {"Relu", "Sigmoid", "Softmax"}
SMALLEST_SCALE = np.finfo(np.float32).tiny


class Plan:
    """What is known of a graph's tensors; the graph is left alone."""

    def __init__(self, model: Any) -> None:
        """Of an INT8 `onnx.ModelProto` in FP32 types."""
        import onnx

        stored = {t.name: t for t in model.graph.initializer}
        self.values = {name: onnx.numpy_helper.to_array(t) for name, t in stored.items()}
        self.producer = {name: node for node in model.graph.node for name in node.output}
        self.read_from: dict[str, str] = {}
        """By output of a DequantizeLinear, the tensor whose rounding it is."""
        self.scale: dict[str, np.float32] = {}
        """Of every rounded tensor."""
        self.integers: set[str] = set()
        """Of these, what integer kernels give."""
        self._readers: dict[str, list[Any]] = {}
        for node in model.graph.node:
            self._see(node)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        self._ranges: dict[str, float] = json.loads(metadata.get(RANGES_KEY, "{}"))
        for node in model.graph.node:
            self._find_integers(node)

    def is_layer(self, node: Any) -> bool:
        """Whether it multiplies eight bits."""
        if node.op_type not in LAYERS or node.input[0] not in self.read_from:
            return False
        weight = self.producer.get(node.input[1])
        return weight is not None and weight.op_type == "DequantizeLinear"

    def is_flagged(self, node: Any) -> bool:
        """Whether it multiplies a rounded tensor by flags, 0 to 1: the result has its scale."""
        scales = [self.scale[self.read_from[n]] for n in node.input if n in self.read_from]
        return node.op_type == "Mul" and scales == [self.scale.get(node.output[0])]

    def is_never_negative(self, name: str) -> bool:
        """Whether a tensor holds no value below 0, as far as its makers show."""
        node = self.producer.get(self.read_from.get(name, name))
        if node is None:
            return False
        if node.op_type == "Mul":
            return self.is_flagged(node) and any(self.is_never_negative(n) for n in node.input)
        if node.op_type in MOVES:
            return all(self.is_never_negative(name) for name in _moved(node))
        return node.op_type in NEVER_NEGATIVE

    def _see(self, node: Any) -> None:
        for name in node.input:
            self._readers.setdefault(name, []).append(node)
        source = self.producer.get(node.input[0]) if node.input else None
        if node.op_type == "DequantizeLinear" and source is not None:
            self.read_from[node.output[0]] = source.input[0]
            self.scale[source.input[0]] = np.float32(self.values[node.input[1]])

    def _find_integers(self, node: Any) -> None:
        if not self._has_kernel(node):
            return
        name = self._behind_relu(node.output[0])
        if name not in self.scale and name in self._ranges:
            scale = np.float32(self._ranges[name] / LARGEST)
            self.scale[name] = max(scale, SMALLEST_SCALE)
        if name in self.scale:
            self.integers.add(name)

    def _has_kernel(self, node: Any) -> bool:
        if node.op_type == "Add":
            return all(self._is_rounded(name) for name in node.input)
        if node.op_type in MOVES:
            return node.output[0] in self.scale and all(map(self._is_rounded, _moved(node)))
        return self.is_layer(node) or self.is_flagged(node)

    def _is_rounded(self, name: str) -> bool:
        return name in self.read_from or name in self.integers

    def _behind_relu(self, name: str) -> str:
        readers = self._readers.get(name, [])
        only_relu = [node.op_type for node in readers] == ["Relu"]
        return str(readers[0].output[0]) if only_relu else name


def _moved(node: Any) -> list[str]:
    """The values that it moves, without shapes and indices."""
    return list(node.input if node.op_type == "Concat" else node.input[:1])
