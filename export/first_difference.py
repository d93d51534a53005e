"""Where two ONNX files of one network part: the first tensor whose values differ, in graph order.

Both run in ONNX Runtime, unoptimized, on one batch, with tensors of both graphs as added outputs, a
few at a time: all of a large network's do not fit in memory. Tensors that have one name, one
operator and one shape on both sides are compared. They part where

    max |a - b| > TOLERANCE * max |a|

An FP16 file is run as `emulation` writes it. What is sorted or chosen differs as a whole from the
first tie on, so the first tensor says more than the greatest difference.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from ..runtime.contract import Contract, Precision, contract_from_metadata
from ..runtime.errors import InputError
from ..runtime.pictures.preprocess import place_on_canvas
from .precision.emulation import emulated_file
from .typed_graph import scope_of

TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1e-1, "fp8": 1e-1}
"""Of the tensor's greatest value, by what the candidate computes in."""
TOGETHER = 16

Values = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class FirstDifference:
    """What was compared of two graphs, and the first tensor that differs."""

    compared: int
    """Tensors up to that one, it included; all that both have where none differs."""
    tolerance: float
    """Share of a tensor's greatest value."""
    tensor: str | None = None
    """None where none differs."""
    operator: str = ""
    module: str = ""
    """Path of the network's module; "" where the graph does not say."""
    difference: float = 0.0
    """Greatest, as a share of the tensor's greatest value."""

    def __str__(self) -> str:
        """One line for people."""
        limit = f"more than {self.tolerance:g} of their greatest value"
        if not self.compared:
            return "first tensor that differs: unknown, the graphs have no tensor in common"
        if self.tensor is None:
            return f"first tensor that differs: none of {self.compared} by {limit}"
        place = f"{self.operator} of {self.module}" if self.module else self.operator
        return (
            f"first tensor that differs by {limit}: {self.tensor} ({place}), by "
            f"{self.difference:.2g}; {self.compared - 1} before it agree"
        )


def first_difference(
    reference: Path, candidate: Path, picture: npt.NDArray[np.uint8]
) -> FirstDifference:
    """Run two ONNX files on one picture until a tensor differs.

    Args:
        reference: the file believed right.
        candidate: the other; its precision sets the tolerance.
        picture: (H, W, 3) uint8 RGB.

    Raises:
        InputError: a file is no export of maskrt, or their batches or canvases differ.
        ContractError: a contract is unreadable.
        ExportError: a file of lower precision is not as `to_mixture` writes it.
    """
    with _graph(reference) as first, _graph(candidate) as second:
        contract = _contract_of(second, candidate)
        shapes = [_contract_of(model, reference).inputs for model in (first, second)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{candidate}: takes {shapes[1]}, {reference} takes {shapes[0]}; tensors can be "
                "compared of one canvas and batch alone. Export both with the same."
            )
        images, sizes = place_on_canvas([picture], contract)
        feeds: Values = {"images": images, "image_sizes": sizes}
        return _compared(first, second, feeds, TOLERANCE[contract.precision])


@contextlib.contextmanager
def _graph(path: Path) -> Iterator[onnx.ModelProto]:
    model = onnx.load(path)
    if not _contract_of(model, path).is_emulated_on_cpu:
        yield model
        return
    with emulated_file(path) as emulated:
        yield onnx.load(emulated)


def _contract_of(model: onnx.ModelProto, path: Path) -> Contract:
    return contract_from_metadata({e.key: e.value for e in model.metadata_props}, str(path))


def _compared(
    first: onnx.ModelProto, second: onnx.ModelProto, feeds: Values, tolerance: float
) -> FirstDifference:
    operators = {name: node.op_type for node in second.graph.node for name in node.output}
    makers = {
        name: node
        for node in first.graph.node
        for name in node.output
        if name and operators.get(name) == node.op_type
    }
    names, compared = list(makers), 0
    for start in range(0, len(names), TOGETHER):
        part = names[start : start + TOGETHER]
        one, other = (_values(model, part, feeds) for model in (first, second))
        for name in part:
            if (difference := _difference(one[name], other[name])) is None:
                continue
            compared += 1
            if not difference <= tolerance:  # NaN is beyond any
                node = makers[name]
                found = name, node.op_type, scope_of(node), difference
                return FirstDifference(compared, tolerance, *found)
    return FirstDifference(compared, tolerance)


def _difference(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> float | None:
    """Greatest difference as a share of the greatest value; None of what cannot be compared."""
    if one.shape != other.shape or {one.dtype.kind, other.dtype.kind} != {"f"} or not one.size:
        return None
    a, b = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite]):
        return float("inf")
    greatest = np.abs(a[finite]).max(initial=0.0)
    apart = np.abs(a[finite] - b[finite]).max(initial=0.0)
    return float(apart / greatest) if greatest else float(apart > 0)


def _values(model: onnx.ModelProto, names: Sequence[str], feeds: Values) -> Values:
    """Values of these tensors, by a graph that ends at them."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    nodes = _needed(model.graph, set(names))
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(list(names), dict(feeds)), strict=True))


def _needed(graph: onnx.GraphProto, wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that make these tensors, in their order."""
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted |= set(_read(node))
    return kept[::-1]


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, also in the graphs inside it."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read(inner)
            yield from (value.name for value in graph.output)
