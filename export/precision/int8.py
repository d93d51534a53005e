"""FP32 ONNX -> INT8 ONNX: layers between QuantizeLinear and DequantizeLinear (Q/DQ) nodes.

The quantizer is onnxruntime.quantization (quantizer.py); here its layers are chosen and what it
wrote is checked. TensorRT reads the file as explicit quantization; nothing else turns INT8 on.
Accuracy is judged afterwards, by the gates of `maskrt eval --against`.

- Weights: per output channel, symmetric, stored as int8. Layer inputs: one scale per tensor,
  symmetric int8 with zero point 0, which is all that TensorRT takes.
- Q/DQ stand before layers only, never behind one: bias, Relu and residual sum then fuse with their
  layer and the result is rounded once. The tensor that a layer reads is rounded for all its
  readers, so a residual sum reads its shortcut as INT8 too.
- Biases and all other nodes stay FP32. A bias as int32, as ONNX Runtime likes it, has no place in
  TensorRT.

ONNX Runtime's CPU kernels need a Q/DQ pair behind each layer as well, and unsigned values to fuse
Relu. It runs this file by computing the layers in FP32 on rounded values: right for accuracy (exact
integer sums would differ by FP32's own rounding only), and slower than the FP32 file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from ...runtime.contract import Contract
from ...runtime.errors import ExportError, InputError
from ..macs import graph_macs
from ..typed_graph import TypedGraph
from .policy import BETWEEN_LAYERS, is_layer
from .quantizer import CalibrationReader, quantized


@dataclass(frozen=True)
class Exemption:
    """Layers that stay FP32; the first exemption that applies gives the reason."""

    name: str
    applies: Callable[[TypedGraph, onnx.NodeProto], bool]
    reason: str


@dataclass(frozen=True)
class Int8Report:
    """What became INT8."""

    layers: int
    """Layers with weights."""
    int8_layers: int
    mac_share: float
    """INT8 part of the layers' multiply-accumulates, 0..1."""
    pictures: int
    """Calibrated on."""
    left_out: dict[str, str]
    """By name, the layers in FP32 and the exemption that keeps them so."""
    onnxruntime_version: str
    """Of the quantizer."""

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"INT8: {self.int8_layers} of {self.layers} layers, {self.mac_share:.1%} of their "
            f"MACs, calibrated on {self.pictures} pictures"
        )


def _has_computed_weight(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    return node.input[1] not in graph.stored


def _has_scaled_bias(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    stored = len(node.input) < 3 or node.input[2] in graph.stored
    return not stored or any(a.name == "beta" and a.f != 1.0 for a in node.attribute)


def _reads_pixels(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    """Whether no layer stands before it."""
    waiting = [node.input[0]]
    seen: set[int] = set()
    while waiting:
        source = graph.producer.get(waiting.pop())
        if source is None or source in seen:
            continue
        seen.add(source)
        if is_layer(graph, graph.nodes[source]):
            return False
        waiting += graph.nodes[source].input
    return True


def _predicts(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    """Whether its result reaches no other layer by moves, sums and Relus alone."""
    waiting = list(node.output)
    seen: set[int] = set()
    while waiting:
        for reader in graph.consumers.get(waiting.pop(), ()):
            found = graph.nodes[reader]
            if is_layer(graph, found):
                return False
            if found.op_type in BETWEEN_LAYERS and reader not in seen:
                seen.add(reader)
                waiting += found.output
    return True


EXEMPTIONS: tuple[Exemption, ...] = (
    Exemption(
        "computed weights",
        _has_computed_weight,
        "the quantizer would round them at run time, with one scale for all channels",
    ),
    Exemption(
        "scaled biases",
        _has_scaled_bias,
        "the quantizer overwrites a bias's factor with 1 and takes stored biases only",
    ),
    Exemption(
        "pixels",
        _reads_pixels,
        "its rounding goes through every layer, for 3 % of LSC tiny's MACs and 10 % of FastMask's",
    ),
    Exemption(
        "predictions",
        _predicts,
        "scores and boxes are read as they stand, and are 1 % of the MACs; LSC tiny's mask branch "
        "ends here too, 3 %",
    ),
)
"""The last two are no matter of the gate, which all layers in INT8 pass too: LSC tiny matches 0.75
of its instances with them and 0.68 without."""


def to_int8(
    model: onnx.ModelProto,
    contract: Contract,
    pictures: Sequence[Path],
    exemptions: Sequence[Exemption] = EXEMPTIONS,
) -> tuple[onnx.ModelProto, Int8Report]:
    """A copy of an FP32 model in which layers compute on INT8 weights and inputs.

    Args:
        model: FP32 with its functions, as `apply_rules` leaves it; left alone.
        contract: its batch, canvas and resize rule.
        pictures: files to calibrate on, other ones than accuracy is measured on; the ranges of
            layer inputs are taken from them.
        exemptions: which layers stay FP32.

    Raises:
        InputError: no picture is named, or one cannot be read.
        ExportError: no layer is left to become INT8, or the quantizer left one out.

    """
    import onnxruntime

    require_pictures(pictures)
    graph = TypedGraph(shape_inference.infer_shapes(model))
    layers = [n for n in graph.nodes if is_layer(graph, n)]
    applying = {n.name: [e.name for e in exemptions if e.applies(graph, n)] for n in layers}
    left_out = {name: found[0] for name, found in applying.items() if found}
    names = [node.name for node in layers if node.name not in left_out]
    if not names:
        raise ExportError(
            f"{model.graph.name}: none of {len(layers)} layers can become INT8; expected some. "
            "Export with --precision fp16."
        )
    result = quantized(model, names, CalibrationReader(contract, pictures))
    _require_int8(result, names)
    macs = {cost.name: cost.macs for cost in graph_macs(model).nodes}
    done, total = (sum(macs[name] for name in part) for part in (names, [n.name for n in layers]))
    return result, Int8Report(
        layers=len(layers),
        int8_layers=len(names),
        mac_share=done / total,
        pictures=len(pictures),
        left_out=left_out,
        onnxruntime_version=onnxruntime.__version__,
    )


def require_pictures(pictures: Sequence[Path]) -> None:
    """Refuse a calibration on nothing.

    Raises:
        InputError: no picture is named.

    """
    if not pictures:
        raise InputError(
            "INT8: no pictures to calibrate on found; expected some dozens like those that the "
            "network will see. Name a labelled folder with --calibrate."
        )


def _require_int8(model: onnx.ModelProto, names: list[str]) -> None:
    """Every one of these layers reads weights and input through symmetric int8."""
    graph = TypedGraph(model)
    nodes = {node.name: node for node in graph.nodes}
    for name in names:
        for tensor in nodes[name].input[:2]:
            source = graph.producer.get(tensor)
            if source is None or not _is_symmetric_int8(graph, graph.nodes[source]):
                raise ExportError(
                    f"layer '{name}': '{tensor}' reaches it without symmetric int8; expected "
                    "QuantizeLinear and DequantizeLinear. Report it with the onnxruntime version."
                )


def _is_symmetric_int8(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    if node.op_type != "DequantizeLinear" or len(node.input) < 3:
        return False
    zero_point = graph.stored[node.input[2]]
    zero = numpy_helper.to_array(zero_point)
    return zero_point.data_type == TensorProto.INT8 and not np.any(zero)
