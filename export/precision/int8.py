"""FP32 ONNX -> INT8 ONNX: layers between QuantizeLinear and DequantizeLinear (Q/DQ) nodes.

The quantizer is onnxruntime.quantization; here its options are chosen, pictures are fed to it, and
what it wrote is checked. TensorRT reads the file as explicit quantization; nothing else turns INT8
on. Accuracy is judged afterwards, by the gates of `maskrt eval --against`.

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

What onnxruntime.quantization 1.22 to 1.31 keeps, found by experiment and asserted by tests: local
functions (`MaskrtRoiAlign`, `MaskrtWindowAlign`) as nodes with all attributes and their bodies, the
contract in `metadata_props`, node metadata `namespace`. It adds a metadata entry of its own and its
producer name, which are taken out. Three traps are avoided below: an empty list of layers means
"all of them" to it, a weight that is computed from a stored one is rounded per tensor at run time,
and the factor of a Gemm's bias is overwritten with 1.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from ...runtime.contract import Contract
from ...runtime.errors import ExportError, InputError
from ...runtime.pictures.preprocess import place_on_canvas, read_image
from ..macs import graph_macs
from .fp16 import POLICY
from .mixed_graph import TypedGraph

LAYERS = frozenset(op for rule in POLICY if rule.when == "weighted" for op in rule.op_types)
# What stands between two layers: values pass through it from one to the next.
_BETWEEN = frozenset(
    op for rule in POLICY if rule.when in ("inputs", "between") for op in rule.op_types
)


@dataclass(frozen=True)
class FloatRule:
    """Layers that stay FP32; the first rule that applies gives the reason."""

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
    """By name, the layers in FP32 and the rule that keeps them so."""
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
        if graph.nodes[source].op_type in LAYERS and graph.is_weighted(graph.nodes[source]):
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
            if found.op_type in LAYERS and graph.is_weighted(found):
                return False
            if found.op_type in _BETWEEN and reader not in seen:
                seen.add(reader)
                waiting += found.output
    return True


FLOAT_LAYERS: tuple[FloatRule, ...] = (
    FloatRule(
        "computed weights",
        _has_computed_weight,
        "the quantizer would round them at run time, with one scale for all channels",
    ),
    FloatRule(
        "scaled biases",
        _has_scaled_bias,
        "the quantizer overwrites a bias's factor with 1 and takes stored biases only",
    ),
    FloatRule(
        "pixels",
        _reads_pixels,
        "its rounding goes through every layer, for 3 % of LSC tiny's MACs and 10 % of FastMask's",
    ),
    FloatRule(
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
    rules: Sequence[FloatRule] = FLOAT_LAYERS,
) -> tuple[onnx.ModelProto, Int8Report]:
    """A copy of an FP32 model in which layers compute on INT8 weights and inputs.

    Args:
        model: FP32 with its functions, as `rules.apply_rules` leaves it; left alone.
        contract: its batch, canvas and resize rule.
        pictures: files to calibrate on, other ones than accuracy is measured on; the ranges of
            layer inputs are taken from them.
        rules: which layers stay FP32.

    Raises:
        InputError: no picture is named, or one cannot be read.
        ExportError: no layer is left to become INT8, or the quantizer left one out.

    """
    import onnxruntime

    if not pictures:
        raise InputError(
            "INT8: no pictures to calibrate on found; expected some dozens like those that the "
            "network will see. Name a COCO-format folder with --calibrate."
        )
    graph = TypedGraph(shape_inference.infer_shapes(model))
    layers = [n for n in graph.nodes if n.op_type in LAYERS and graph.is_weighted(n)]
    applying = {n.name: [rule.name for rule in rules if rule.applies(graph, n)] for n in layers}
    left_out = {name: found[0] for name, found in applying.items() if found}
    names = [node.name for node in layers if node.name not in left_out]
    if not names:
        raise ExportError(
            f"{model.graph.name}: none of {len(layers)} layers can become INT8; expected some. "
            "Export with --precision fp16."
        )
    result = _quantized(model, names, _Reader(contract, pictures))
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


def int8_mac_share(model: onnx.ModelProto) -> float:
    """Part of all multiply-accumulates whose two operands are dequantized INT8, 0..1."""
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    names = {
        node.name
        for node in model.graph.node
        if {kinds.get(tensor) for tensor in node.input[:2]} == {"DequantizeLinear"}
    }
    cost = graph_macs(model)
    return sum(c.macs for c in cost.nodes if c.name in names) / max(cost.macs, 1)


class _Reader:
    """Pictures on canvases as the quantizer asks for them, with a bar on standard error.

    It hands out the ranges it is given one after the other, so that one picture's activations are
    in memory at a time.
    """

    def __init__(self, contract: Contract, pictures: Sequence[Path]) -> None:
        self._contract = contract
        self._pictures = pictures
        self._batches = -(-len(pictures) // contract.batch)
        self._next, self._end = 0, self._batches
        self.tell: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return self._batches

    def set_range(self, start_index: int, end_index: int) -> None:
        """Hand out these batches next."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, Any] | None:
        """The next batch's inputs by name; None where the range ends."""
        if self._next == self._end:
            return None
        first = self._next * self._contract.batch
        # The last batch is filled up with the first pictures: no black canvas is calibrated on.
        chosen = [(first + i) % len(self._pictures) for i in range(self._contract.batch)]
        images = [read_image(self._pictures[i]) for i in chosen]
        canvases, sizes = place_on_canvas(images, self._contract)
        self._next += 1
        self.tell()
        return {"images": canvases, "image_sizes": sizes}


def _quantized(model: onnx.ModelProto, names: list[str], reader: _Reader) -> onnx.ModelProto:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    with tempfile.TemporaryDirectory(prefix="maskrt-") as folder, _told(reader):
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(_marked(model), source)
        quantize_static(
            source,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(LAYERS),
            nodes_to_quantize=names,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # Of the values, 99.999 % lie inside the range. With every layer in INT8 the greatest
            # change was 0.19 points in LSC tiny and 0.26 in FastMask tiny. MinMax (0.37) and
            # 99.99 % (0.32) fail FastMask's gate of 0.3, Entropy (0.29) all but fails LSC's.
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": sorted(LAYERS),
                "CalibPercentile": 99.999,
                "CalibStridedMinMax": 1,
            },
        )
        result = onnx.load(target)
    del result.metadata_props[:]
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    return result


def _marked(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that says its shapes are inferred, or the quantizer warns that they may not be."""
    marked = shape_inference.infer_shapes(model)
    marked.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    return marked


@contextlib.contextmanager
def _told(reader: _Reader) -> Iterator[None]:
    """A bar over the pictures in place of what the quantizer prints on standard output."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("INT8: ranges of layer inputs", total=len(reader))
        reader.tell = lambda: bar.advance(task)
        with contextlib.redirect_stdout(io.StringIO()):
            yield


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
