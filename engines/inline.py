"""What `maskrt export` wrote -> the ONNX that a TensorRT parser gets, with static shapes.

Every `maskrt` operator of an exported file is a local function with a standard body. Inlined,
the file is *portable*: no TensorRT's parser has to know local functions or plugins. For plugins the
operators stay as nodes and lose their bodies, so that no parser can quietly take the body instead.
Nodes that have no name get one, because TensorRT's errors and layer lists are read by people.
"""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import onnx.inliner
import onnx.shape_inference
from google.protobuf.message import DecodeError

from ..runtime.contract import Contract, TensorSpec, contract_from_metadata
from ..runtime.errors import BuildError, ContractError, InputError, first_line
from ..runtime.files import require_file, sha256_of
from .plugins.operator_config import NAMESPACE

STANDARD_DOMAINS = ("", "ai.onnx")


def read_exported(onnx_path: Path) -> tuple[onnx.ModelProto, Contract]:
    """Load an ONNX file that maskrt exported.

    Raises:
        InputError: missing, not ONNX, broken, or without a contract (made by something else).
    """
    require_file(onnx_path, "an ONNX file", (".onnx",))
    try:
        model = onnx.load(str(onnx_path))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as err:
        raise InputError(
            f"{onnx_path}: not a valid ONNX model ({first_line(err)}). Export it again."
        ) from err
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        return model, contract_from_metadata(metadata, str(onnx_path))
    except ContractError as err:
        raise InputError(str(err)) from err


def keep_bounds_named(model: onnx.ModelProto) -> None:
    """Make every one-sided Clip a Min or Max, in place, for an engine without its weights.

    Of such a Clip's bound TensorRT's parser makes a constant that has no name, and what has none
    cannot come back from the ONNX file. Min and Max take the bound as it is.
    """
    for node in model.graph.node:
        if node.op_type != "Clip" or node.domain not in STANDARD_DOMAINS:
            continue
        tensor, low, high = (*node.input, "", "")[:3]
        if bool(low) != bool(high):
            node.op_type = "Max" if low else "Min"
            node.input[:] = [tensor, low or high]


def weight_files(onnx_path: Path, folder: Path) -> dict[str, str]:
    """The files that hold a model's weights: itself and its external data.

    Returns:
        their paths from `folder`, with forward slashes, to their SHA-256.
    """
    model = onnx.load(str(onnx_path), load_external_data=False)
    outside = {
        onnx_path.parent / entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return {
        Path(os.path.relpath(path, folder)).as_posix(): sha256_of(path)
        for path in (onnx_path, *sorted(outside))
    }


def portable_model(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Inline all local functions, name all nodes and infer all shapes.

    Raises:
        BuildError: an operator outside the ONNX standard has no body in the file, or shapes
            contradict each other.
    """
    return _named_and_typed(onnx.inliner.inline_local_functions(model), where, STANDARD_DOMAINS)


def plugin_model(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Keep the `maskrt` operators as nodes without bodies; for the rest as `portable_model`.

    Raises:
        BuildError: an operator that is neither standard nor ours has no body in the file, or shapes
            contradict each other.
    """
    ours = [(f.domain, f.name) for f in model.functions if f.domain == NAMESPACE]
    kept = onnx.inliner.inline_selected_functions(model, ours, exclude=True)
    # The bodies tell the shapes of the operators' outputs; then they go.
    kept = _named_and_typed(kept, where, (*STANDARD_DOMAINS, NAMESPACE))
    del kept.functions[:]
    return kept


def tensor_specs(model: onnx.ModelProto) -> dict[str, TensorSpec]:
    """Name, shape and dtype of every tensor whose type is known; a size that is not known is 0."""
    types = tensor_types(model)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {
        v.name: TensorSpec(
            v.name, tuple(d.dim_value for d in v.type.tensor_type.shape.dim), types[v.name]
        )
        for v in values
        if v.name in types
    }


def tensor_types(model: onnx.ModelProto) -> dict[str, str]:
    """The numpy dtype name of every tensor whose type is known, by tensor name."""
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {
        v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name
        for v in values
        if v.type.tensor_type.elem_type
    }


def _named_and_typed(
    model: onnx.ModelProto, where: str, domains: tuple[str, ...]
) -> onnx.ModelProto:
    foreign = [n for n in model.graph.node if n.domain not in domains]
    if foreign:
        node = foreign[0]
        raise BuildError(
            f"{where}: node '{node.name}' calls {node.domain}::{node.op_type}, which has no "
            "portable body in the file; expected a local function. Export it again."
        )
    _name_nodes(model)
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError as err:
        raise BuildError(
            f"{where}: its shapes contradict each other ({first_line(err)}). Export it again."
        ) from err


def _name_nodes(model: onnx.ModelProto) -> None:
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
