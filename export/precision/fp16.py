"""FP32 ONNX -> mixed FP16/FP32 ONNX: precision is written into the file, node by node.

Strongly typed TensorRT and ONNX Runtime then compute the same thing. POLICY says which nodes go to
FP16 and why. The pass finds those nodes, converts the weights that they read, and joins both worlds
with one Cast per tensor and direction. Inputs and outputs of the graph keep their types.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from ...runtime.errors import ExportError
from ..typed_graph import TypedGraph, scope_of
from .mixed_graph import HALF_MAX, lift_constants, write_mixed
from .policy import PolicyLine, line_for


def to_fp16(model: onnx.ModelProto, keep_fp32: Sequence[str] = ()) -> onnx.ModelProto:
    """A copy of an FP32 model in which the nodes that POLICY names compute in FP16.

    Args:
        model: FP32, static shapes, no control flow; `maskrt` nodes bare or with their functions.
        keep_fp32: what stays FP32 beyond the policy: a part of a module path
            ("backbone.res4", with everything under it), a node name or an operator.

    Returns:
        A model that passes the ONNX checker, shapes inferred; graph inputs and outputs keep their
        types. Stored values that half flushes to zero are counted in the log.

    Raises:
        ExportError: a weight is beyond half range, an entry of `keep_fp32` names nothing, the model
            has control flow, or the result is not valid.

    """
    source = onnx.ModelProto()
    source.CopyFrom(model)
    lift_constants(source.graph)
    graph = TypedGraph(checked(source, "FP32 model"))
    half = _half_nodes(graph, _kept(graph, keep_fp32))
    result = write_mixed(graph, half)
    return checked(result, "FP16 model")


def half_node_share(model: onnx.ModelProto) -> float:
    """FP16 part of the nodes with a float result, Cast and Constant apart, by their types, 0..1."""
    graph = TypedGraph(shape_inference.infer_shapes(model))
    kinds = [
        {graph.types.get(name) for name in node.output} & {TensorProto.FLOAT, TensorProto.FLOAT16}
        for node in graph.nodes
        if node.op_type not in ("Cast", "Constant")
    ]
    return sum(TensorProto.FLOAT16 in kind for kind in kinds) / max(sum(map(bool, kinds)), 1)


def _kept(graph: TypedGraph, keep_fp32: Sequence[str]) -> set[int]:
    """The nodes that `keep_fp32` names; every entry must name one."""
    kept: set[int] = set()
    for entry in keep_fp32:
        found = {i for i, node in enumerate(graph.nodes) if is_named(entry, node)}
        if not found:
            known = {".".join(scope_of(node).split(".")[:2]) for node in graph.nodes} - {""}
            raise ExportError(
                f"keep_fp32: '{entry}' names no module, node or operator of the model; expected one"
                f" of the modules {', '.join(sorted(known)) or '(none known)'} or a part of them."
                " Correct the name."
            )
        kept |= found
    return kept


def is_named(entry: str, node: onnx.NodeProto) -> bool:
    """Whether an entry of `keep_fp32` is a node's name, operator or part of its module path."""
    return entry in (node.name, node.op_type) or f".{entry}." in f".{scope_of(node)}."


def _half_nodes(graph: TypedGraph, kept: set[int]) -> set[int]:
    """The nodes that compute in FP16.

    Starts from every node whose line allows FP16 and takes followers away until all that remain
    read FP16 only; the greatest such set is unique, so the order of the checks does not matter.
    """
    lines = {i: line_for(graph, node) for i, node in enumerate(graph.nodes) if i not in kept}
    half = {i for i, line in lines.items() if line.precision == "fp16"}
    while True:
        reaching = _reaching_layers(graph, half, lines)
        stay = {i for i in half if _stays(graph, i, half, lines[i], i in reaching)}
        if stay == half:
            return half
        half = stay


def _stays(graph: TypedGraph, index: int, half: set[int], line: PolicyLine, reaches: bool) -> bool:
    """Whether a node may still be FP16 when the nodes `half` are."""
    if line.when == "inputs":
        return _reads_half(graph, index, half, exact=True)
    if line.when == "between":
        return reaches and _reads_half(graph, index, half, exact=False)
    return True


def _reads_half(graph: TypedGraph, index: int, half: set[int], *, exact: bool) -> bool:
    """Whether a node reads FP16 values only; `exact` followers read no stored floats at all.

    Flags, which half holds as they are, may come in FP32 to the others.
    """
    names = graph.float_inputs(graph.nodes[index])
    computed = [n for n in names if n not in graph.constant and (exact or n not in graph.flags)]
    stored = [name for name in names if name in graph.constant]
    fits = not stored if exact else all(_fits_half(graph, name) for name in stored)
    return bool(computed) and fits and all(graph.producer.get(name) in half for name in computed)


def _fits_half(graph: TypedGraph, name: str) -> bool:
    """Whether a stored constant lies inside half range."""
    tensor = graph.stored.get(name)
    return tensor is not None and bool((np.abs(numpy_helper.to_array(tensor)) <= HALF_MAX).all())


def _reaching_layers(graph: TypedGraph, half: set[int], lines: dict[int, PolicyLine]) -> set[int]:
    """The FP16 nodes whose result reaches an FP16 layer through FP16 nodes alone."""
    layers = {i for i in half if lines[i].when in ("weighted", "always")}
    reaching: set[int] = set()
    for i in reversed(range(len(graph.nodes))):
        readers = {c for name in graph.nodes[i].output for c in graph.consumers.get(name, ())}
        if i in half and readers & (layers | reaching):
            reaching.add(i)
    return reaching


def checked(model: onnx.ModelProto, what: str) -> onnx.ModelProto:
    """The model with every type and shape inferred, once the ONNX checker has passed it."""
    for node in model.graph.node:
        if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            raise ExportError(
                f"node '{node.name}': {node.op_type} with a subgraph found; expected no control"
                " flow. Unroll it before export."
            )
    try:
        onnx.checker.check_model(model, full_check=True)
        return shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as err:
        raise ExportError(
            f"{what} {model.graph.name}: {err} Expected a valid model. Report the operator."
        ) from err
