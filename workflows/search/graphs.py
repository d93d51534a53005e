"""What a search takes: a checkpoint or its FP32 export, or any other ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime.bundle import graph_paths
from ...runtime.errors import ExportError, InputError, first_line
from ...runtime.files import require_file, sha256_of
from ..shipped import named_file

if TYPE_CHECKING:
    import onnx

    from ...runtime.contract import Contract

OPSET = 18
"""As our own exports have it."""


@dataclass(frozen=True)
class Subject:
    """An FP32 graph whose groups are to be given precisions."""

    name: str
    """Recipe of the checkpoint, or the file's name."""
    sha256: str
    """Of the checkpoint, or of the ONNX file that is not ours."""
    model: onnx.ModelProto
    contract: Contract | None
    """None of a graph that is not ours."""


def own_graph(model: Path, path: Path) -> Subject:
    """The FP32 graph of a checkpoint or an export, written to `path`.

    Args:
        model: `.safetensors` with its `.yaml`, or the name of a shipped one; or its FP32 export, an
            `.onnx` file or a bundle, of which the first graph is taken.
        path: `.onnx` to write.

    Raises:
        InputError: an export is not one of FP32.
        ExportError: the checkpoint cannot be exported in FP32.
    """
    import onnx

    contract = _fp32(graph_paths(named_file(model))[0], path)
    return Subject(contract.variant, contract.checkpoint_sha256, onnx.load(path), contract)


def any_graph(path: Path) -> Subject:
    """An ONNX file of whatever origin: its nodes named, its constants stored, opset 18 or more.

    Raises:
        InputError: it is missing or no ONNX file, or holds another precision than FP32.
    """
    import onnx
    from google.protobuf.message import DecodeError

    from ...export.precision.mixed_graph import lift_constants

    require_file(path, "an ONNX file", (".onnx",))
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        _without_stored_inputs(model)
        model = _in_opset(model)
    except (OSError, DecodeError, onnx.checker.ValidationError, RuntimeError) as err:
        raise InputError(
            f"{path}: no valid ONNX file ({first_line(err)}); expected one that onnx.checker "
            f"passes and that can be brought to opset {OPSET}. Export it again."
        ) from err
    lift_constants(model.graph)
    _name_nodes(model.graph)
    _require_fp32(path, model)
    return Subject(path.name, sha256_of(path), model, None)


def _without_stored_inputs(model: onnx.ModelProto) -> None:
    """Stored values are no inputs: IR 3 lists both, and an input keeps its type."""
    stored = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(given)
    model.ir_version = max(model.ir_version, 8)


def _in_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """INT8 and FP8 raise the opset by the number alone, which only those of today bear."""
    from onnx import version_converter

    opset = next((entry.version for entry in model.opset_import if not entry.domain), OPSET)
    return model if opset >= OPSET else version_converter.convert_version(model, OPSET)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """A name for every node, each once: groups are called by them."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type.lower()}_{index}"
            while name in taken | seen:
                name += "_"
            node.name = name
        seen.add(node.name)


def _require_fp32(path: Path, model: onnx.ModelProto) -> None:
    from onnx import TensorProto

    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer) or any(
        node.op_type == "DequantizeLinear" for node in model.graph.node
    ):
        raise InputError(
            f"{path}: FP16 or quantized values found; expected an FP32 graph, whose groups go to "
            "other precisions. Name the file that it was made from."
        )


def _fp32(model: Path, path: Path) -> Contract:
    """The FP32 graph in one file at `path`."""
    if model.suffix.lower() != ".onnx":
        return _export_fp32(model, path)
    import onnx

    from ...engines.inline import read_exported

    graph, contract = read_exported(model)
    if contract.precision != "fp32":
        raise InputError(
            f"{model}: an export in {contract.precision}; expected FP32, from which groups go to "
            "other precisions. Name the checkpoint, or its FP32 export."
        )
    onnx.save(graph, path)
    return contract


def _export_fp32(checkpoint: Path, path: Path) -> Contract:
    from ...export.to_onnx import export

    try:
        (report,) = export(checkpoint, {"fp32": path})
    except ExportError as err:
        raise ExportError(
            f"{checkpoint}: its FP32 export fails, so no choice of precision repairs it: {err}"
        ) from err
    return report.contract
