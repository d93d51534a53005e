"""A model whose node groups compute in different precisions: a search chooses it, export writes it.

    FP32 model -> groups in FP32, FP16, INT8, FP8 -> one typed file

Layers in INT8 or FP8 get their weights and inputs from DequantizeLinear (placement.py); all else in
their groups computes in what the rest does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import onnx
from onnx import shape_inference

from ...runtime.contract import Precision, Rest
from ...runtime.errors import ExportError
from ...runtime.sessions.integers.plan import RANGES_KEY
from ..typed_graph import TypedGraph
from .eight_bits import EIGHT_BITS, EightBits
from .exemptions import left_out
from .fp16 import checked, is_named, to_fp16
from .groups import group_tree
from .mixed_graph import lift_constants
from .placement import Placement
from .policy import is_layer
from .quantize import write_quantized

GroupPrecision = Literal["fp32", "fp16", "int8", "fp8"]


@dataclass(frozen=True)
class Mixture:
    """What each node group computes in."""

    groups: Mapping[str, GroupPrecision] = field(default_factory=dict)
    """By name, leaves of `groups.group_tree` or nodes; what is not named computes in `rest`."""
    rest: Rest = "fp16"
    """FP16 where the policy allows it, or everything else as it is."""
    ranges: Mapping[str, float] = field(default_factory=dict)
    """By tensor of the FP32 model, the largest |x| that INT8 and FP8 hold, from calibration."""


def lowest(mixture: Mixture) -> Precision:
    """What the contract of its file says: the fewest bits that anything computes in."""
    used = {*mixture.groups.values(), mixture.rest}
    ranked: tuple[Precision, ...] = ("int8", "fp8", "fp16", "fp32")
    return next(precision for precision in ranked if precision in used)


def to_mixture(model: onnx.ModelProto, mixture: Mixture) -> onnx.ModelProto:
    """A copy of an FP32 model in the precisions of a mixture.

    Args:
        model: FP32 with its functions, as `apply_rules` leaves it; left alone.
        mixture: what computes in what.

    Raises:
        ExportError: a group names nothing, INT8 or FP8 cannot take any of its layers, a range is
            missing, or a value of the model does not fit its precision.

    """
    typed = to_fp16(model, sorted(_kept(model, mixture)))
    source = onnx.ModelProto()
    source.CopyFrom(model)
    lift_constants(source.graph)
    graph = TypedGraph(shape_inference.infer_shapes(source, data_prop=True))
    layers = _layers(graph, mixture)
    if not layers:
        return typed
    placement = Placement(graph, layers, mixture.ranges)
    result = write_quantized(TypedGraph(typed), graph, layers, placement)
    ranges = json.dumps(dict(mixture.ranges), sort_keys=True)
    result.metadata_props.add(key=RANGES_KEY, value=ranges)  # for integer kernels of CPUs
    return checked(result, "quantized model")


def _kept(model: onnx.ModelProto, mixture: Mixture) -> set[str]:
    """The groups that `to_fp16` leaves in FP32."""
    if mixture.rest == "fp16":
        return {name for name, precision in mixture.groups.items() if precision == "fp32"}
    half = {name for name, precision in mixture.groups.items() if precision == "fp16"}
    return set(group_tree(model).names - half)


def _layers(graph: TypedGraph, mixture: Mixture) -> dict[str, EightBits]:
    """The layers in INT8 and FP8, by name; every group in one of them must have one."""
    layers: dict[str, EightBits] = {}
    refused = {p: left_out(graph, p, exemptions=()) for p in EIGHT_BITS}
    for group, precision in mixture.groups.items():
        if precision not in EIGHT_BITS:
            continue
        named = [n for n in graph.nodes if is_named(group, n) and is_layer(graph, n)]
        found = [n.name for n in named if n.name not in refused[precision]]
        if not found:
            reasons = {refused[precision][n.name] for n in named} or {"it has no layer"}
            raise ExportError(
                f"group '{group}': {precision} found, but {' and '.join(sorted(reasons))}; expected"
                " a layer with stored weights. Choose fp16 or fp32 for it."
            )
        layers.update(dict.fromkeys(found, precision))
    return layers
