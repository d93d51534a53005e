"""Where QuantizeLinear and DequantizeLinear (Q/DQ) stand among a model's activations.

- Before every INT8 or FP8 layer, one pair for all that read the tensor so.
- Before the nodes that made the tensor by moving values or by setting some to 0 (MaxPool, Reshape,
  Concat, the mask of a canvas): rounding before such a node and rounding behind it give the same,
  so what is rounded there too, by the same scale, is moved as eight bits. All tensors that meet in
  this way have one range, the largest of theirs.
- At one side of a sum that leads to such a layer, the shortcut: TensorRT adds it inside the layer
  that makes the other side, and then writes eight bits itself.
- Nowhere else. Behind a layer stand its bias, Relu and sum, with which it fuses, and layers in
  FP16 or FP32 read values that no pair has rounded.

Source: NVIDIA's TensorRT documentation, "Explicit Quantization", Q/DQ layer-placement
recommendations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from ...runtime.errors import ExportError
from ...runtime.sessions.integers.plan import MOVES
from ..typed_graph import TypedGraph
from .eight_bits import EightBits
from .policy import SUMS, is_layer

Key = tuple[str, EightBits]
"""A tensor and what it is rounded to."""


class Placement:
    """The pairs of a model: which tensors, which readers, which ranges."""

    def __init__(
        self,
        graph: TypedGraph,
        layers: Mapping[str, EightBits],
        ranges: Mapping[str, float],
    ) -> None:
        """Of an FP32 graph.

        Args:
            graph: with all types.
            layers: names of the layers in eight bits.
            ranges: largest |x| by tensor.

        Raises:
            ExportError: a layer's input has no range.

        """
        self._graph = graph
        self._ranges = ranges
        self.readers: dict[tuple[int, int], Key] = {}
        """By index of a node and position of an input, what that input is read as."""
        self._joined: dict[Key, Key] = {}
        for index, node in enumerate(graph.nodes):
            if node.name in layers:
                self._require_range(node)
                self._round(index, 0, layers[node.name])
        for index, node in enumerate(graph.nodes):
            if node.op_type in SUMS:
                self._round_shortcut(index, node)
        self._largest: dict[Key, float] = {}
        for tensor, precision in set(self.readers.values()):
            key = self._class_of((tensor, precision))
            self._largest[key] = max(self._largest.get(key, 0.0), ranges.get(tensor, 0.0))

    def range_of(self, key: Key) -> float:
        """The largest |x| that the rounded tensor holds."""
        return self._largest[self._class_of(key)]

    def _require_range(self, node: onnx.NodeProto) -> None:
        if node.input[0] not in self._ranges:
            raise ExportError(
                f"layer '{node.name}': no range of '{node.input[0]}' found; expected one from "
                "calibration, as INT8 and FP8 need it. Calibrate again."
            )

    def _round(self, index: int, position: int, precision: EightBits) -> None:
        """Read an input rounded, and whatever it was moved from."""
        if (index, position) in self.readers:
            return
        name = self._graph.nodes[index].input[position]
        self.readers[index, position] = (name, precision)
        for maker, source in self._moved_from(name):
            moved = self._graph.nodes[maker].input[source]
            self._join((name, precision), (moved, precision))
            self._round(maker, source, precision)

    def _moved_from(self, name: str) -> Iterator[tuple[int, int]]:
        """The node that made a tensor by moving values, and which of its inputs it moved."""
        index = self._graph.producer.get(name)
        if index is None:
            return
        node = self._graph.nodes[index]
        floats = [p for p, n in enumerate(node.input) if self._graph.is_float(n)]
        if node.op_type == "Mul":  # by flags alone: a value stays or becomes 0
            values = [p for p in floats if node.input[p] not in self._graph.flags]
            if len(values) != 1:
                return
        elif node.op_type in MOVES:
            values = floats
        else:
            return
        if not any(node.input[p] in self._graph.constant for p in values):
            yield from ((index, position) for position in values)

    def _round_shortcut(self, index: int, node: onnx.NodeProto) -> None:
        """Round one side of a sum that reaches a rounded tensor; those rounded elsewhere, too."""
        graph = self._graph
        precision = self._reached(node.output[0])
        sides = [p for p, n in enumerate(node.input) if n not in graph.constant]
        if precision is None or len(sides) < 2 or not self._may_round(node):
            return
        rounded = {name for name, found in self.readers.values() if found == precision}
        shared = [p for p in sides if node.input[p] in rounded]
        sides.sort(key=lambda p: self._made_by_layer(node.input[p]))
        for position in shared[: len(sides) - 1] or sides[:1]:
            self._round(index, position, precision)

    def _made_by_layer(self, name: str) -> tuple[bool, int]:
        """Whether a layer made a tensor, moves apart, and when: what is made last fuses."""
        moved = next(self._moved_from(name), None)
        if moved is not None:
            return self._made_by_layer(self._graph.nodes[moved[0]].input[moved[1]])
        index = self._graph.producer.get(name, -1)
        return index >= 0 and is_layer(self._graph, self._graph.nodes[index]), index

    def _may_round(self, node: onnx.NodeProto) -> bool:
        return all(n in self._ranges or n in self._graph.constant for n in node.input)

    def _reached(self, name: str) -> EightBits | None:
        """What a sum's result is rounded to, behind a Relu or as it is."""
        for reader in self._graph.consumers.get(name, ()):
            for position, read in enumerate(self._graph.nodes[reader].input):
                if read == name and (reader, position) in self.readers:
                    return self.readers[reader, position][1]
            if self._graph.nodes[reader].op_type == "Relu":
                found = self._reached(self._graph.nodes[reader].output[0])
                if found is not None:
                    return found
        return None

    def _class_of(self, key: Key) -> Key:
        while key in self._joined:
            key = self._joined[key]
        return key

    def _join(self, one: Key, other: Key) -> None:
        first, second = self._class_of(one), self._class_of(other)
        if first != second:
            self._joined[first] = second
