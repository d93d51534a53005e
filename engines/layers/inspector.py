"""TensorRT's engine inspector: its JSON -> the engine's layers, with the network's MACs.

The inspector tells types, not work. Work is known of the parsed network, layer by layer, and both
sides name the ONNX nodes they come from, so a node's MACs go to the engine layer that computes it:

    network  conv1: 9 G MACs          engine  "conv1 + relu1"  Half  [conv1, relu1]: 9 G MACs

What finds no layer is counted as `unattributed_macs` and never as FP16.
Source: TensorRT 8.6, 10.16 and 11.3 documentation of `IEngineInspector`; the 10 -> 11 migration
page for the keys that changed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from ...runtime.errors import SessionError
from .summary import UNCOUNTED, Layer, LayerSummary, onnx_names, widest

# Kernels of products, by the layer's type or its tactic's name: Cask and cuDNN convolutions, cuBLAS
# and xmma matrix products, fused attention. Other kernels that name the same node prepare for it.
_PRODUCT_TYPES = ("conv", "gemm", "matmul", "matrix", "mha", "fullyconnected")
_PRODUCT_TACTICS = ("gemm", "fprop", "dgrad", "mha")
_NO_TYPE_WIDTH = -1
_WIDTHS = {"float32": 2, "bf16": 1, "float16": 1, "fp8": 0, "int8": 0, "": _NO_TYPE_WIDTH}


def summary_from_inspector(text: str, network: LayerSummary) -> LayerSummary:
    """Read the inspector's JSON, of TensorRT 10 and older or of 11.

    A tensor's type is in `Format/Datatype` up to TensorRT 10 ("Half", "Row major linear FP16
    format") and in a key of its own from 11 on.

    Args:
        text: `EngineInspector.get_engine_information` as JSON.
        network: what the engine was built from, as parsed.

    Raises:
        SessionError: it is not JSON, has names only or no types: nothing can be said of precision.
    """
    raw = _entries(text)
    if not raw or any(isinstance(layer, str) for layer in raw):
        raise SessionError(
            f"the inspector gives {len(raw)} bare names; expected layers with their tensors, as in "
            "engines that 'maskrt build' makes. Build it again."
        )
    layers = [_layer(entry) for entry in raw]
    if not any(layer.precision for layer in layers):
        raise SessionError(
            f"the inspector gives {len(layers)} layers without tensor types; expected at least one "
            "float. Compare its outputs instead: 'maskrt eval' with '--against'."
        )
    macs, unattributed = _attributed(raw, layers, network)
    counted = (
        Layer(x.name, x.kind, x.precision, macs[index], x.onnx) for index, x in enumerate(layers)
    )
    return LayerSummary("engine inspector", tuple(counted), unattributed)


def _entries(text: str) -> list[Any]:
    try:
        # strict=False: the separators in `Metadata` are control characters.
        layers: list[Any] = json.loads(text, strict=False)["Layers"]
    except (ValueError, TypeError, KeyError) as err:
        raise SessionError(
            f"the inspector's answer cannot be read ({err!r}); expected JSON with 'Layers', as "
            "TensorRT 8.6 to 11 write it. Run maskrt.engines.layers.layer_profile instead."
        ) from err
    return layers


def _layer(entry: dict[str, Any]) -> Layer:
    """One layer of the inspector, its MACs not yet known.

    A product is computed in the type of its factors, so inputs and weights decide. Outputs do not:
    an FP16 kernel adds up in FP32 and may store that. Biases do not: they are added once per
    output. A wider third input (a fused residual) makes the layer count as wide, which can only
    understate FP16. The tactic's name says it too ("..._f16f16_f32_..."), but is not documented.
    """
    types = [_type_name(tensor) for tensor in entry.get("Inputs", [])]
    weights = entry.get("Weights")
    if isinstance(weights, dict):
        types.append(_type_in(str(weights.get("Type", ""))))
    names = onnx_names(str(entry.get("Metadata", "")))
    return Layer(entry.get("Name", ""), entry.get("LayerType", ""), widest(types), 0, names)


def _type_name(tensor: dict[str, Any]) -> str:
    """The tensor's type as `Layer.precision` has it, "" for other types.

    `Format` alone is read last: in TensorRT 11 it is a layout, and only its long form has a type.
    """
    keys = ("DataType", "Datatype", "Format/Datatype", "Format/DataType", "Format")
    return next((_type_in(str(tensor[key])) for key in keys if key in tensor), "")


def _type_in(text: str) -> str:
    upper = text.upper()
    if "INT8" in upper and "UINT8" not in upper:
        return "int8"
    if any(word in upper for word in ("FP8", "FLOAT8", "E4M3")):
        return "fp8"
    if "BF16" in upper or "BFLOAT" in upper:
        return "bf16"
    if any(word in upper for word in ("FP16", "HALF", "FLOAT16")):
        return "float16"
    return "float32" if "FP32" in upper or "FLOAT" in upper else ""


def _attributed(
    raw: list[dict[str, Any]], layers: list[Layer], network: LayerSummary
) -> tuple[dict[int, int], int]:
    """MACs by the engine layer's index, and those that are nobody's."""
    named: dict[str, list[int]] = defaultdict(list)
    for index, layer in enumerate(layers):
        if _computes(layer):
            for name in layer.onnx:
                named[name].append(index)
    macs: dict[int, int] = defaultdict(int)
    unattributed = 0
    for part in network.layers:
        naming = [index for name in part.onnx for index in named[name]]
        if naming:
            macs[max(naming, key=lambda i: _claim(raw[i], layers[i]))] += part.macs
        else:
            unattributed += part.macs
    return macs, unattributed


def _computes(layer: Layer) -> bool:
    """Whether its types say what it computes in.

    A region that TensorRT compiled as one ("{ForeignNode[...]}") shows the tensors at its edges;
    what the kernels inside compute in is not told.
    """
    is_region = layer.kind.upper() == "MYELIN" or "ForeignNode[" in layer.name
    return not is_region and layer.kind.upper() not in UNCOUNTED


def _claim(entry: dict[str, Any], layer: Layer) -> tuple[bool, int]:
    """Of several layers that name a node the product has its MACs; of several products the widest.

    The widest, because how the work is divided is not told and FP16 must not be guessed.
    """
    tactic = str(entry.get("TacticName", "")).lower()
    is_product = any(word in layer.kind.lower() for word in _PRODUCT_TYPES) or any(
        word in tactic for word in _PRODUCT_TACTICS
    )
    return is_product, _WIDTHS[layer.precision]
