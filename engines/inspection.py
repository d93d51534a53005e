"""What precision really runs where: in the parsed network without a GPU, in the engine with one.

Nothing is believed because it was asked for. A *parsed network* is strongly typed, so the types of
a layer's inputs are the types it computes in; multiply-accumulates (MACs) weigh the layers by their
work. TensorRT may still fuse and reformat, so where a GPU lets the engine be opened its inspector
is read too, in both of its JSON schemas (10.x and 11.x).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.cuda import missing_device
from ..runtime.errors import SessionError
from ..runtime.sidecar import read_sidecar
from ..runtime.tensorrt_module import numpy_name
from ..runtime.trt_engine import LoadedEngine, load_engine

FLOATS = ("float32", "float16", "bf16")
_UNCOUNTED = ("CONSTANT", "CAST")  # no arithmetic: a constant's type or a cast proves nothing


@dataclass(frozen=True)
class Layer:
    """One layer; `macs` is 0 for everything but convolutions and matrix products."""

    name: str
    kind: str
    precision: str
    """Widest float type among its inputs ("float16" only when all are); "" when none is a float."""
    macs: int


@dataclass(frozen=True)
class LayerSummary:
    """Layers of a parsed network or of an engine."""

    source: str
    """`parsed network` or `engine inspector`."""
    layers: tuple[Layer, ...]

    @property
    def fp16_layer_share(self) -> float:
        """Share in 0..1 of the layers that compute on floats, whose floats are all FP16."""
        floats = [x for x in self.layers if x.precision and x.kind not in _UNCOUNTED]
        return _share(sum(x.precision == "float16" for x in floats), len(floats))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run; 0 for an engine, which does not tell."""
        return sum(x.macs for x in self.layers)

    @property
    def fp16_mac_share(self) -> float:
        """Share in 0..1 of the MACs with FP16 inputs."""
        return _share(sum(x.macs for x in self.layers if x.precision == "float16"), self.macs)

    def to_dict(self) -> dict[str, Any]:
        """JSON form for sidecar and reports; layers as [name, kind, precision, macs]."""
        return {
            "source": self.source,
            "layer_count": len(self.layers),
            "layers_by_precision": dict(Counter(x.precision or "other" for x in self.layers)),
            "fp16_layer_share": round(self.fp16_layer_share, 4),
            "macs": self.macs,
            "fp16_mac_share": round(self.fp16_mac_share, 4),
            "layers": [[x.name, x.kind, x.precision, x.macs] for x in self.layers],
        }


def network_summary(trt: Any, network: Any) -> LayerSummary:
    """Read a parsed `INetworkDefinition` of fixed shapes; needs no GPU."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return LayerSummary("parsed network", tuple(_parsed_layer(trt, layer) for layer in layers))


def engine_summary(engine_path: Path) -> LayerSummary:
    """Read an engine's own layers.

    Raises:
        SessionError: the engine cannot be opened here (no GPU, another TensorRT, ...).
    """
    return inspected_layers(load_engine(engine_path))


def engine_report(engine_path: Path) -> dict[str, Any]:
    """Everything known of an engine: its sidecar, and its layers or why they cannot be read.

    Keys: `contract`, `fingerprint`, `build` as in the sidecar; `engine_layers`: summary or reason.

    Raises:
        SessionError: the sidecar is missing or foreign.
    """
    report: dict[str, Any] = json.loads(read_sidecar(engine_path).to_json())
    report["engine_layers"] = engine_layers_or_reason(engine_path)
    return report


def engine_layers_or_reason(engine_path: Path) -> dict[str, Any] | str:
    """The engine's layers as JSON, or one line saying why they cannot be read here."""
    missing = missing_device()
    if missing:
        return f"engine layers not read: opening the engine needs an NVIDIA GPU ({missing})"
    try:
        return engine_summary(engine_path).to_dict()
    except SessionError as err:
        return f"engine layers not read: {err}"


def inspected_layers(loaded: LoadedEngine) -> LayerSummary:
    """The layers of a deserialized engine, from its inspector."""
    inspector = loaded.engine.create_engine_inspector()
    text = inspector.get_engine_information(loaded.trt.LayerInformationFormat.JSON)
    return summary_from_inspector(text)


def summary_from_inspector(text: str) -> LayerSummary:
    """Read the inspector's JSON.

    Layers are objects only in engines built with detailed verbosity, else bare names. A tensor's
    type is `Format/Datatype` up to TensorRT 10 ("Half", "Row major linear FP16 format") and a key
    of its own from 11 on.
    """
    layers = json.loads(text).get("Layers", [])
    return LayerSummary("engine inspector", tuple(_inspected_layer(x) for x in layers))


def _parsed_layer(trt: Any, layer: Any) -> Layer:
    inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
    types = [numpy_name(t.dtype) for t in inputs if t is not None]
    return Layer(layer.name, layer.type.name, _widest(types), _layer_macs(trt, layer))


def _layer_macs(trt: Any, layer: Any) -> int:
    """MACs of a convolution, a deconvolution or a matrix product; 0 for others."""
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


def _inspected_layer(layer: str | dict[str, Any]) -> Layer:
    if isinstance(layer, str):
        return Layer(layer, "", "", 0)
    types = [_type_name(tensor) for tensor in layer.get("Inputs", [])]
    return Layer(layer.get("Name", ""), layer.get("LayerType", ""), _widest(types), 0)


def _type_name(tensor: dict[str, Any]) -> str:
    """The tensor's float type in numpy's words, "" for other types."""
    keys = ("DataType", "Datatype", "Format/Datatype", "Format/DataType")
    text = " ".join(str(tensor[key]) for key in keys if key in tensor).upper()
    if "BF16" in text or "BFLOAT" in text:
        return "bf16"
    if any(word in text for word in ("FP16", "HALF", "FLOAT16")):
        return "float16"
    return "float32" if "FP32" in text or "FLOAT" in text else ""


def _widest(types: list[str]) -> str:
    found = [name for name in FLOATS if name in types]
    return found[0] if found else ""


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
