"""What precision really runs where: in the parsed network without a GPU, in the engine with one.

Nothing is believed because it was asked for. A *parsed network* is strongly typed, so the types of
a layer's inputs are the types it computes in. TensorRT may still fuse and reformat, so where a GPU
lets the engine be opened its own layers are read too, through its inspector (`inspector.py`).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ...runtime.errors import SessionError
from ...runtime.gpu.cuda import missing_device
from ...runtime.sessions.trt.engine import LoadedEngine, deserialize, load_engine
from ...runtime.sessions.trt.tensorrt_module import numpy_name
from ...runtime.sidecar import Sidecar, read_sidecar
from .inspector import summary_from_inspector
from .summary import Layer, LayerSummary, onnx_names, widest
from .typed_network import TypedNetwork


def network_summary(trt: Any, network: Any) -> LayerSummary:
    """Read a parsed `INetworkDefinition` of fixed shapes; needs no GPU."""
    typed = TypedNetwork(network)
    layers = tuple(_parsed_layer(trt, typed, layer) for layer in typed.layers)
    return LayerSummary("parsed network", layers)


def built_summary(path: Path, data: bytes, sidecar: Sidecar, trt: Any) -> LayerSummary | str:
    """The layers of an engine that was just built, or one line saying why they cannot be read here.

    Args:
        path: where it will be written, for errors.
        data: the engine.
        sidecar: its sidecar with `build.network`.
        trt: the TensorRT module that built it.
    """
    missing = missing_device()
    if missing:
        return _needs_a_gpu(missing)
    try:
        # The runtime must outlive the engine.
        _runtime, engine = deserialize(path, data, sidecar, trt)
        return _inspected(engine, trt, sidecar)
    except SessionError as err:
        return _not_read(err)


def engine_report(engine_path: Path) -> dict[str, Any]:
    """Everything known of an engine: its sidecar, and its layers or why they cannot be read.

    Keys: `contract`, `fingerprint`, `build` as in the sidecar; `engine_layers`: the summary read
    here; without a GPU the one that the build read; else the reason.

    Raises:
        SessionError: the sidecar is missing or foreign.
    """
    report: dict[str, Any] = json.loads(read_sidecar(engine_path).to_json())
    here = _engine_layers_or_reason(engine_path)
    recorded = report["build"].get("engine")
    known = isinstance(recorded, dict) and isinstance(here, str)
    report["engine_layers"] = recorded if known else here
    return report


def inspected_layers(loaded: LoadedEngine) -> LayerSummary:
    """The layers of a deserialized engine, from its inspector, with the network's MACs.

    Raises:
        SessionError: the inspector tells no types, or the sidecar has no network of this form.
    """
    return _inspected(loaded.engine, loaded.trt, loaded.sidecar)


def summary_words(summary: dict[str, Any] | str | None) -> str:
    """One line about a summary's JSON form, or the reason that stands in its place."""
    if not isinstance(summary, dict):
        return summary or "not recorded"
    words = f"{summary['layer_count']} layers; {summary['fp16_layer_share']:.1%} of layers"
    if summary["macs"]:
        words += f", {summary['fp16_mac_share']:.1%} of MACs"
    words += " in FP16"
    shares = summary.get("mac_shares", {})
    words += "".join(f", {shares[p]:.1%} in {p.upper()}" for p in ("int8", "fp8") if p in shares)
    if nobodys := summary.get("unattributed_macs"):
        words += f"; {nobodys / summary['macs']:.1%} of MACs in no layer that tells"
    return words


def to_record(layers: LayerSummary | str) -> dict[str, Any] | str:
    """The JSON form of a summary, or the reason as it is."""
    return layers.to_dict() if isinstance(layers, LayerSummary) else layers


def _engine_layers_or_reason(engine_path: Path) -> dict[str, Any] | str:
    missing = missing_device()
    if missing:
        return _needs_a_gpu(missing)
    try:
        return inspected_layers(load_engine(engine_path)).to_dict()
    except SessionError as err:
        return _not_read(err)


def _needs_a_gpu(missing: str) -> str:
    return f"engine layers not read: opening the engine needs an NVIDIA GPU ({missing})"


def _not_read(err: SessionError) -> str:
    return f"engine layers not read: {err}"


def _inspected(engine: Any, trt: Any, sidecar: Sidecar) -> LayerSummary:
    try:
        network = LayerSummary.from_dict(sidecar.build["network"])
    except (KeyError, TypeError, ValueError) as err:
        raise SessionError(
            "its sidecar does not list the network's layers with their ONNX names, as this maskrt "
            "writes them. Build it again."
        ) from err
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return summary_from_inspector(text, network)


def _parsed_layer(trt: Any, typed: TypedNetwork, layer: Any) -> Layer:
    macs = _layer_macs(trt, layer)
    types = [numpy_name(tensor.dtype) for tensor in typed.inputs(layer)]
    precision = typed.eight_bits(layer) if macs else ""
    names = onnx_names(layer.metadata)
    return Layer(layer.name, layer.type.name, precision or widest(types), macs, names)


def _layer_macs(trt: Any, layer: Any) -> int:
    """MACs of a convolution, a deconvolution or a matrix product; 0 for others.

    Not those that `export.macs` counts by ONNX node: engines may not import export, and the parser
    makes several layers of one node, of which the product alone has the MACs.
    """
    kinds = trt.LayerType
    if layer.type == kinds.MATRIX_MULTIPLY:
        layer.__class__ = trt.IMatrixMultiplyLayer  # the network hands out base-class objects
        axis = -2 if layer.op0 == trt.MatrixOperation.TRANSPOSE else -1
        return _product(layer.get_output(0).shape) * int(layer.get_input(0).shape[axis])
    if layer.type == kinds.CONVOLUTION:
        layer.__class__ = trt.IConvolutionLayer
        channels = int(layer.get_input(0).shape[1]) // int(layer.num_groups)
        return _product(layer.get_output(0).shape) * channels * _product(layer.kernel_size_nd)
    if layer.type == kinds.DECONVOLUTION:
        layer.__class__ = trt.IDeconvolutionLayer
        channels = int(layer.num_output_maps) // int(layer.num_groups)
        return _product(layer.get_input(0).shape) * channels * _product(layer.kernel_size_nd)
    return 0


def _product(dims: Any) -> int:
    return math.prod(int(d) for d in dims)
