"""An ONNX file of any precision as an FP32 one that rounds as it does: accuracy on a CPU, honestly.

ONNX Runtime's CPU provider has next to no FP16 kernels: it drops the Casts between FP16 layers and
computes them in FP32, so the file itself, run there, shows the rounding of the weights and not that
of the activations. Of INT8 and FP8 it rewrites the graph around DequantizeLinear by rules of its
own. The copy made here stores every tensor as the file would, in FP32, by nodes that ONNX Runtime
keeps as they stand:

    FP16  Cast to half, Unsqueeze, Cast to float, Squeeze: between two Casts alone it would see none
    INT8  q = Clip(Round(x / scale), -128, 127), and q * scale where the file dequantizes
    FP8   q = Cast to E4M3, saturating, of x / scale and back, and q * scale

Rounding is to nearest, ties to even. What DequantizeLinear gives is not rounded to half: the kernel
that reads it multiplies the eight bits themselves. Stored weights are dequantized here.

Emulated is storage: a layer sums in FP32 and its result is rounded once, where the file says FP16.
A GPU that fuses layers rounds less often. One that sums in FP16 rounds more often, and so does
`MaskrtRoiAlign` where its portable body runs in FP16: here it is the plugin, FP32 inside.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper, parser, shape_inference

from ...runtime.contract import contract_from_metadata
from ...runtime.errors import ExportError, InputError
from ...runtime.files import atomic_path
from ..operators.domain import DOMAIN, import_domain, standard_opset
from ..typed_graph import TypedGraph
from .policy import FOLLOWERS

ROUND_TO_HALF = "MaskrtRoundToHalf"
_ROUND_TO_INT8 = "MaskrtRoundToInt8"
_ROUND_TO_FP8 = "MaskrtRoundToFp8"
_EIGHT_BITS = {TensorProto.INT8: _ROUND_TO_INT8, TensorProto.FLOAT8E4M3FN: _ROUND_TO_FP8}
# Functions, called once per tensor; ONNX Runtime inlines them.
_BODIES = {
    ROUND_TO_HALF: """(x) => (y) {
    first = Constant <value = int64[1] {0}> ()
    half = Cast <to = 10> (x)
    kept = Unsqueeze (half, first)
    float = Cast <to = 1> (kept)
    y = Squeeze (float, first)
}""",
    _ROUND_TO_INT8: """(x, scale) => (y) {
    least = Constant <value = float {-128.0}> ()
    most = Constant <value = float {127.0}> ()
    ratio = Div (x, scale)
    whole = Round (ratio)
    y = Clip (whole, least, most)
}""",
    _ROUND_TO_FP8: """(x, scale) => (y) {
    ratio = Div (x, scale)
    stored = Cast <to = 17, saturate = 1> (ratio)
    y = Cast <to = 1> (stored)
}""",
}


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """The FP32 model that gives what `model` gives with every tensor stored as it says.

    Args:
        model: as `precision.to_mixture` writes it (left alone). Without FP16 in it, the result is a
            copy.

    Returns:
        A checked model with the same graph inputs, outputs and metadata (the contract's precision
        stays). FP16 stored values are FP32 of the same value, FP16 Casts and layers are followed by
        `MaskrtRoundToHalf`. It is made for accuracy on a CPU: no subject for a build or a bench.

    Raises:
        ExportError: something stays FP16 (a graph input, a constant that is no initializer).

    """
    graph = TypedGraph(shape_inference.infer_shapes(model))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    stored = {name: _widened(tensor) for name, tensor in graph.stored.items()}
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in graph.stored:
            stored[node.output[0]] = _dequantized(graph, node)
        else:
            result.graph.node.extend(_in_float(graph, node))
    read = {name for node in result.graph.node for name in node.input} | graph.outputs
    result.graph.initializer.extend(tensor for name, tensor in stored.items() if name in read)
    _add_functions(result)
    return _without_half(result)


def write_emulated(typed_path: Path, out: Path) -> None:
    """Write `emulated` of an exported file, atomically; `typed_path` is left alone.

    Raises:
        InputError: `typed_path` is missing, no ONNX file, an FP32 file, no export of maskrt, or
            `out` itself; or `out` cannot be written.
        ContractError: its contract is unreadable.
        ExportError: as `emulated`.

    """
    model = load_typed(typed_path)
    if out.resolve() == typed_path.resolve():
        raise InputError(
            f"{out}: the emulation would replace the file itself; expected another name. "
            f"Write it beside, as {typed_path.stem}-emulated.onnx."
        )
    copy = emulated(model)
    with atomic_path(out) as temporary:
        onnx.save(copy, temporary)


@contextmanager
def emulated_file(typed_path: Path) -> Iterator[Path]:
    """Yield the path of `write_emulated`'s file, which lasts as long as the block.

    Raises:
        InputError, ContractError, ExportError: as `write_emulated`.

    """
    with tempfile.TemporaryDirectory(prefix="maskrt-") as folder:
        path = Path(folder) / "emulated.onnx"
        write_emulated(typed_path, path)
        yield path


def load_typed(path: Path) -> onnx.ModelProto:
    """Read an exported file that is not FP32 throughout.

    Raises:
        InputError: it is missing, no ONNX file, an FP32 file, or no export of maskrt.
        ContractError: its contract is unreadable.

    """
    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as err:
        raise InputError(
            f"{path}: could not be read as ONNX ({err}); expected a file of `maskrt export "
            "--precision fp16`, int8 or fp8. Export the checkpoint again."
        ) from err
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    found = contract_from_metadata(metadata, str(path)).precision
    if found == "fp32":
        raise InputError(
            f"{path}: fp32 found; expected an export in fp16, int8 or fp8, as FP32 needs no "
            "emulation. Export with --precision fp16, or run the file as it is."
        )
    return model


def _in_float(graph: TypedGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The node in FP32, then one rounding for each FP16 output that it computes."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    if node.op_type == "QuantizeLinear":
        return [_quantized(graph, copy)]
    if node.op_type == "DequantizeLinear":
        copy.op_type = "Mul"
        del copy.input[2:], copy.attribute[:]
        return [copy]
    if node.op_type == "Cast":
        for attribute in copy.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    nodes = [copy]
    for position, name in enumerate(node.output):
        if graph.types.get(name) == TensorProto.FLOAT16 and node.op_type not in FOLLOWERS:
            copy.output[position] = f"{name}_unrounded"
            nodes.append(_round(copy.output[position], name))
    return nodes


def _round(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node(
        ROUND_TO_HALF, [source], [target], name=f"round_{target}", domain=DOMAIN
    )


def _quantized(graph: TypedGraph, node: onnx.NodeProto) -> onnx.NodeProto:
    """The eight bits as the numbers they are, in FP32."""
    scale, zero = (graph.stored.get(name) for name in [*node.input[1:3], ""][:2])
    if scale is None or zero is None or not _is_symmetric(zero):
        raise ExportError(
            f"emulation: '{node.output[0]}' is not rounded by one stored scale around 0 to int8 or "
            "E4M3; expected INT8 and FP8 only as to_mixture writes it. Run the file as it is."
        )
    node.op_type, node.domain = _EIGHT_BITS[zero.data_type], DOMAIN
    del node.input[2:], node.attribute[:]
    return node


def _is_symmetric(zero: TensorProto) -> bool:
    known = not zero.dims and zero.data_type in _EIGHT_BITS
    return known and not numpy_helper.to_array(zero).any()


def _dequantized(graph: TypedGraph, node: onnx.NodeProto) -> TensorProto:
    """Stored eight bits as FP32."""
    values, scale = (
        numpy_helper.to_array(graph.stored[name]).astype(np.float32) for name in node.input[:2]
    )
    along = [1] * values.ndim
    if scale.ndim:
        along[next(a.i for a in node.attribute if a.name == "axis")] = -1
        scale = scale.reshape(along)
    return numpy_helper.from_array(np.asarray(values * scale), node.output[0])


def _widened(tensor: TensorProto) -> TensorProto:
    """FP16 values as FP32, any other tensor as it is."""
    if tensor.data_type != TensorProto.FLOAT16:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _add_functions(model: onnx.ModelProto) -> None:
    """Attach the bodies of the roundings that nodes call and that are not there yet."""
    called = {node.op_type for node in model.graph.node}
    present = {function.name for function in model.functions}
    for name, body in _BODIES.items():
        if name in called and name not in present:
            import_domain(model)
            head = f'<domain: "{DOMAIN}", opset_import: ["" : {standard_opset(model)}]> {name} '
            model.functions.append(parser.parse_function(head + body))


def _without_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with all types inferred, once it is valid and none of them is FP16."""
    try:
        onnx.checker.check_model(model, full_check=True)
        result = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as err:
        raise ExportError(
            f"emulation of {model.graph.name}: {err} Expected FP16 only as to_mixture writes it. "
            "Report the operator."
        ) from err
    half = list(_half_names(result.graph))
    if half:
        raise ExportError(
            f"emulation of {model.graph.name}: '{half[0]}' is still FP16; expected FP16 only as "
            "to_mixture writes it. Report the operator."
        )
    return result


def _half_names(graph: onnx.GraphProto) -> Iterable[str]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            yield value.name
