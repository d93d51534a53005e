"""FP32 ONNX -> mixed FP16/FP32 ONNX: precision is written into the file, node by node.

Strongly typed TensorRT and ONNX Runtime then compute the same thing. POLICY says which nodes go to
FP16 and why; it needs no model-specific names. The pass asks each node for a precision, converts
the weights that FP16 nodes read, and joins both worlds with one Cast per tensor and direction.
Inputs and outputs of the graph keep their types.

A node's precision is that of its float outputs. Nodes that only pass values on, or compute between
layers, follow: they are FP16 only while everything they read is, so coordinates and scores never
enter FP16 by accident, and a value leaves FP16 at the latest possible place, when it is smallest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from ...runtime.errors import ExportError
from ..macs import graph_macs
from ..operators.roi_align import ROI_ALIGN
from ..operators.window_align import WINDOW_ALIGN
from .mixed_graph import HALF_MAX, TypedGraph, lift_constants, scope_of, write_mixed


@dataclass(frozen=True)
class Rule:
    """One line of the policy; the first rule that names a node's operator and applies decides."""

    name: str
    op_types: frozenset[str]
    """ONNX operators; empty means any."""
    precision: Literal["fp16", "fp32"]
    when: Literal["always", "weighted", "inputs", "between"]
    """`always`; `weighted`: one factor is stored in the file; `inputs`: every float read is FP16;
    `between`: the same, and the result reaches an FP16 layer."""
    reason: str


def _ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


POLICY: tuple[Rule, ...] = (
    Rule(
        "layers",
        _ops("Conv ConvTranspose Gemm MatMul"),
        "fp16",
        "weighted",
        "nearly all multiply-accumulates; trained weights and activations lie well inside half",
    ),
    Rule(
        "products of computed tensors",
        _ops("Gemm MatMul"),
        "fp32",
        "always",
        "suppression counts and overlaps decide by comparison, so rounding flips detections",
    ),
    Rule(
        "pooled regions",
        _ops(ROI_ALIGN),
        "fp16",
        "always",
        "averages of FP16 features; its boxes and weights stay FP32, see operators.py",
    ),
    Rule(
        "values passed on",
        _ops(
            "Relu MaxPool Reshape Transpose Flatten Squeeze Unsqueeze Identity Slice Split Concat"
            f" Gather GatherElements GatherND Expand DepthToSpace SpaceToDepth {WINDOW_ALIGN}"
        ),
        "fp16",
        "inputs",
        "these only move or select values: exact in any precision, and half the bytes",
    ),
    Rule(
        "sums between layers",
        _ops("Add Sum Mul AveragePool"),
        "fp16",
        "between",
        "residual sums, branch sums and folded norms keep a network in one type from end to end",
    ),
    Rule(
        "means of whole maps",
        _ops("ReduceMean ReduceSum GlobalAveragePool"),
        "fp32",
        "always",
        "a sum of many activations can leave half range before it is divided",
    ),
    Rule(
        "probabilities",
        _ops("Softmax LogSoftmax Sigmoid"),
        "fp32",
        "always",
        "near 1 half has steps of 0.0005, which ties scores and changes their order",
    ),
    Rule(
        "order and choice",
        _ops("TopK Where Greater GreaterOrEqual Less LessOrEqual Equal ArgMax ReduceMax"),
        "fp32",
        "always",
        "ties and flipped comparisons change which instances come out",
    ),
    Rule(
        "boxes, anchors and pixels",
        frozenset(),
        "fp32",
        "always",
        "coordinates need sub-pixel steps above 1024, where half has none; everything else follows",
    ),
)


@dataclass(frozen=True)
class PrecisionReport:
    """How much of a model is FP16, by the types written in the file."""

    nodes: int
    """Nodes with a float result, without Cast and Constant."""
    half_nodes: int
    layer_macs: int
    """Multiply-accumulates of layers with weights, one run."""
    half_layer_macs: int

    @property
    def node_share(self) -> float:
        """FP16 part of the nodes, 0..1."""
        return self.half_nodes / self.nodes if self.nodes else 0.0

    @property
    def mac_share(self) -> float:
        """FP16 part of the layers' multiply-accumulates, 0..1."""
        return self.half_layer_macs / self.layer_macs if self.layer_macs else 0.0


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
    graph = TypedGraph(_checked(source, "FP32 model"))
    half = _half_nodes(graph, _kept(graph, keep_fp32))
    result = write_mixed(graph, half)
    return _checked(result, "FP16 model")


def precision_report(model: onnx.ModelProto) -> PrecisionReport:
    """Count the nodes and the layers' multiply-accumulates that a model computes in FP16.

    Raises:
        ExportError: shapes cannot be inferred.

    """
    graph = TypedGraph(shape_inference.infer_shapes(model))
    kinds = [
        {graph.types.get(name) for name in node.output} & {TensorProto.FLOAT, TensorProto.FLOAT16}
        for node in graph.nodes
        if node.op_type not in ("Cast", "Constant")
    ]
    cost = graph_macs(model)
    return PrecisionReport(
        nodes=sum(bool(kind) for kind in kinds),
        half_nodes=sum(TensorProto.FLOAT16 in kind for kind in kinds),
        layer_macs=cost.layer_macs,
        half_layer_macs=cost.half_layer_macs,
    )


def _kept(graph: TypedGraph, keep_fp32: Sequence[str]) -> set[int]:
    """The nodes that `keep_fp32` names; every entry must name one."""
    kept: set[int] = set()
    for entry in keep_fp32:
        found = {i for i, node in enumerate(graph.nodes) if _names(entry, node)}
        if not found:
            known = {".".join(scope_of(node).split(".")[:2]) for node in graph.nodes} - {""}
            raise ExportError(
                f"keep_fp32: '{entry}' names no module, node or operator of the model; expected one"
                f" of the modules {', '.join(sorted(known)) or '(none known)'} or a part of them."
                " Correct the name."
            )
        kept |= found
    return kept


def _names(entry: str, node: onnx.NodeProto) -> bool:
    """Whether an entry of `keep_fp32` is a node's name, operator or part of its module path."""
    return entry in (node.name, node.op_type) or f".{entry}." in f".{scope_of(node)}."


def _rule_for(graph: TypedGraph, node: onnx.NodeProto) -> Rule:
    """The first rule of POLICY that names this operator and can apply."""
    for rule in POLICY:
        named = not rule.op_types or node.op_type in rule.op_types
        if named and (rule.when != "weighted" or graph.is_weighted(node)):
            return rule
    raise AssertionError("the last rule of POLICY names every operator")


def _half_nodes(graph: TypedGraph, kept: set[int]) -> set[int]:
    """The nodes that compute in FP16.

    Starts from every node whose rule allows FP16 and takes followers away until all that remain
    read FP16 only; the greatest such set is unique, so the order of the checks does not matter.
    """
    rules = {i: _rule_for(graph, node) for i, node in enumerate(graph.nodes) if i not in kept}
    half = {i for i, rule in rules.items() if rule.precision == "fp16"}
    while True:
        reaching = _reaching_layers(graph, half, rules)
        stay = {i for i in half if _stays(graph, i, half, rules[i], i in reaching)}
        if stay == half:
            return half
        half = stay


def _stays(graph: TypedGraph, index: int, half: set[int], rule: Rule, reaches: bool) -> bool:
    """Whether a node may still be FP16 when the nodes `half` are."""
    if rule.when == "inputs":
        return _reads_half(graph, index, half, exact=True)
    if rule.when == "between":
        return reaches and _reads_half(graph, index, half, exact=False)
    return True


def _reads_half(graph: TypedGraph, index: int, half: set[int], *, exact: bool) -> bool:
    """Whether a node reads FP16 values only; `exact` followers read no stored floats at all."""
    names = graph.float_inputs(graph.nodes[index])
    computed = [name for name in names if name not in graph.constant]
    stored = [name for name in names if name in graph.constant]
    fits = not stored if exact else all(_fits_half(graph, name) for name in stored)
    return bool(computed) and fits and all(graph.producer.get(name) in half for name in computed)


def _fits_half(graph: TypedGraph, name: str) -> bool:
    """Whether a stored constant lies inside half range."""
    tensor = graph.stored.get(name)
    return tensor is not None and bool((np.abs(numpy_helper.to_array(tensor)) <= HALF_MAX).all())


def _reaching_layers(graph: TypedGraph, half: set[int], rules: dict[int, Rule]) -> set[int]:
    """The FP16 nodes whose result reaches an FP16 layer through FP16 nodes alone."""
    layers = {i for i in half if rules[i].when in ("weighted", "always")}
    reaching: set[int] = set()
    for i in reversed(range(len(graph.nodes))):
        readers = {c for name in graph.nodes[i].output for c in graph.consumers.get(name, ())}
        if i in half and readers & (layers | reaching):
            reaching.add(i)
    return reaching


def _checked(model: onnx.ModelProto, what: str) -> onnx.ModelProto:
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
