"""The nodes of domain `maskrt` in a model, completed so that they run anywhere.

A node `maskrt::MaskrtRoiAlign` runs through its function's body, and a TensorRT plugin of the same
name replaces the body where one is registered. The attributes for the plugin are written on every
node, because the parser finds it by `plugin_namespace` and skips missing attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper

from ...runtime.errors import ExportError
from .domain import DOMAIN, MIN_IR_VERSION, PLUGIN_ATTRIBUTES, import_domain, standard_opset
from .product_body import roi_align_function
from .pyramid_roi_align import (
    PYRAMID_ROI_ALIGN,
    pyramid_roi_align_attributes,
    pyramid_roi_align_function,
)
from .roi_align import ROI_ALIGN, roi_align_attributes
from .window_align import WINDOW_ALIGN, window_align_attributes, window_align_function

_REQUIRED = {
    ROI_ALIGN: ("output_size", "spatial_scale", "sampling_ratio"),
    PYRAMID_ROI_ALIGN: (
        *("output_size", "sampling_ratio", "aligned", "spatial_shapes", "strides", "borders"),
    ),
    WINDOW_ALIGN: ("size", "spatial_shapes"),
}
"""What a node must say of each operator."""


def add_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Attach what the bare `maskrt` nodes of a model need to run anywhere.

    Adds the function body, the domain's opset import and the attributes a node lacks; a model
    without such nodes is returned unchanged. `model` itself is left alone.

    Raises:
        ExportError: a node of the domain is not ours, or lacks an attribute that says what to do.

    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = [node for node in result.graph.node if node.domain == DOMAIN]
    if not nodes:
        return result
    for node in nodes:
        _complete(node)
    import_domain(result)
    opset = standard_opset(result)
    called = {node.op_type for node in nodes} - {function.name for function in result.functions}
    if ROI_ALIGN in called:
        result.functions.append(roi_align_function(opset, _any_adaptive(nodes, ROI_ALIGN)))
    if PYRAMID_ROI_ALIGN in called:
        adaptive = _any_adaptive(nodes, PYRAMID_ROI_ALIGN)
        result.functions.append(pyramid_roi_align_function(opset, adaptive))
    if WINDOW_ALIGN in called:
        result.functions.append(window_align_function(opset))
    result.ir_version = max(result.ir_version, MIN_IR_VERSION)
    return result


def _any_adaptive(nodes: Sequence[onnx.NodeProto], operator: str) -> bool:
    """Whether a node of an operator has the sampling ratio 0."""
    found = (a for n in nodes if n.op_type == operator for a in n.attribute)
    return any(a.i == 0 for a in found if a.name == "sampling_ratio")


def _complete(node: onnx.NodeProto) -> None:
    """Write every attribute on one node, from those that say what it computes."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type not in _REQUIRED:
        *others, last = _REQUIRED
        raise ExportError(
            f"node '{node.name}': {node.domain}::{node.op_type} found; expected"
            f" {', '.join(others)} or {last}, the domain's operators. Translate it to standard"
            " ones."
        )
    _require(node, found, *_REQUIRED[node.op_type])
    given = {name: found[name] for name in _REQUIRED[node.op_type]}
    wanted: dict[str, object]
    if node.op_type == ROI_ALIGN:
        wanted = dict(roi_align_attributes(**given, bin_step=found.get("bin_step", 1)))
    elif node.op_type == PYRAMID_ROI_ALIGN:
        wanted = pyramid_roi_align_attributes(**given)
    else:
        wanted = window_align_attributes(**given)
    del node.attribute[:]
    wanted |= PLUGIN_ATTRIBUTES
    node.attribute.extend(helper.make_attribute(name, value) for name, value in wanted.items())


def _require(node: onnx.NodeProto, found: dict[str, object], *names: str) -> None:
    missing = [name for name in sorted(names) if name not in found]
    if missing:
        raise ExportError(
            f"node '{node.name}': {', '.join(missing)} missing; expected on every {node.op_type}"
            " node. Write the attributes that the operator's .._attributes() makes."
        )
