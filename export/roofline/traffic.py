"""The bytes that a kernel must move: what it reads of others, and what others read of it.

Values lie in memory once, in the narrowest type on their way: what is dequantized or widened is
read as it was stored, and a view (fusion.py) of a tensor is that tensor. Inputs, outputs and
weights move once in a run; what one kernel writes and another reads may wait in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import onnx
from onnx import helper

from ..macs import Tensors
from .fusion import Kernel, is_view, key, read_by

CHOSEN = frozenset({"Gather", "GatherElements", "GatherND"})
"""Of their first input they read as many values as they write."""
_INVARIANT = frozenset({"Constant", "Shape", "Size"})

Parts = dict[str, int]
"""Tensors as they lie in memory, and bytes of each."""


@dataclass(frozen=True)
class Moved:
    """What one kernel moves."""

    ends: int
    """Bytes of inputs, outputs and weights that no kernel before it has read."""
    between: tuple[int, ...]
    """Bytes of each tensor that it writes for another kernel or reads of one."""


class Traffic:
    """Where the tensors of an inlined graph with fixed shapes lie, and who reads them."""

    def __init__(self, graph: onnx.GraphProto, tensors: Tensors) -> None:
        self._tensors = tensors
        self._outputs = {value.name for value in graph.output}
        self.constant = _constants(graph)
        self._inputs = {value.name for value in graph.input} | self.constant
        self._parts: dict[str, Parts] = {}
        self._readers: dict[str, set[str]] = {}
        for node in graph.node:
            for name in read_by(node):
                self._readers.setdefault(name, set()).add(key(node))
            if self._is_alias(node):
                self._parts.update(dict.fromkeys(node.output, self._aliased(node)))

    def moved(self, kernels: list[Kernel]) -> list[Moved]:
        """What each kernel moves, in their order."""
        known: set[str] = set()
        result = []
        for kernel in kernels:
            made = {name for node in kernel.nodes for name in node.output}
            read, written = self._read(kernel, made), self._written(kernel, made)
            first = (read.keys() & self._inputs) - known
            known |= first
            ends = sum(read[name] for name in first)
            ends += sum(self._size(name) for name in written & self._outputs)
            between = [size for name, size in read.items() if name not in first]
            between += [self._size(name) for name in written - self._outputs]
            result.append(Moved(ends, tuple(between)))
        return result

    def _read(self, kernel: Kernel, made: set[str]) -> Parts:
        """What lies outside of a kernel and how much of it is read, each tensor once."""
        read: Parts = {}
        for name, most in {pair: None for node in kernel.nodes for pair in self._named(node)}:
            for part, size in self._lies_in(name).items():
                if part not in made:
                    read[part] = read.get(part, 0) + min(size, most)
        return {part: min(size, self._size(part) or size) for part, size in read.items()}

    def _named(self, node: onnx.NodeProto) -> Iterator[tuple[str, int]]:
        """The inputs that a node reads itself, and how many bytes of each at most."""
        if self._is_alias(node):
            return
        for place, name in enumerate(read_by(node)):
            chosen = node.op_type in CHOSEN and place == 0
            yield name, self._size(node.output[0] if chosen else name)

    def _written(self, kernel: Kernel, made: set[str]) -> set[str]:
        """What a kernel makes and others, or the caller, read."""
        inside = {key(node) for node in kernel.nodes}
        seen = {
            name
            for name in made
            if name in self._outputs or not inside.issuperset(self._readers.get(name, ()))
        }
        return {part for name in seen for part in self._lies_in(name)} & made

    def _lies_in(self, name: str) -> Parts:
        return self._parts.get(name) or {name: self._size(name)}

    def _is_alias(self, node: onnx.NodeProto) -> bool:
        """A view, or a cast that widens: whoever reads it reads what it was made of."""
        if self._outputs.intersection(node.output) or not self._is_sized(node):
            return False
        widens = node.op_type == "Cast" and self._width(node.input[0]) <= self._width(
            node.output[0]
        )
        return widens or is_view(node, self.constant)

    def _is_sized(self, node: onnx.NodeProto) -> bool:
        """Whether its source's size is known: a GridSample's is not, so what follows stands in."""
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        return bool(sources) and all(name in self._tensors.shapes for name in sources)

    def _aliased(self, node: onnx.NodeProto) -> Parts:
        """The parts of a view; one of several outputs (Split) stands for each."""
        count = prod(self._tensors.shapes.get(node.output[0], ()))
        parts: Parts = {}
        for name in node.input if node.op_type == "Concat" else node.input[:1]:
            for part, size in self._lies_in(name).items():
                parts[part] = parts.get(part, 0) + min(size, count * self._width(part))
        return parts

    def _size(self, name: str) -> int:
        return prod(self._tensors.shapes.get(name, (0,))) * self._width(name)

    def _width(self, name: str) -> int:
        """Bytes of one value; 0 where the type is not known."""
        kind = self._tensors.types.get(name, 0)
        return helper.tensor_dtype_to_np_dtype(kind).itemsize if kind else 0


def _constants(graph: onnx.GraphProto) -> set[str]:
    """What is the same in every run: stored, or computed of such values or of fixed shapes."""
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        given = set(read_by(node))
        if node.op_type in _INVARIANT or (given and given <= names):
            names.update(node.output)
    return names
