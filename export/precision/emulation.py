"""An FP16 ONNX file as an FP32 one that rounds every FP16 tensor to half: FP16 on a CPU, honestly.

ONNX Runtime's CPU provider has next to no FP16 kernels: it drops the Casts between FP16 layers and
computes them in FP32, so the file itself, run there, shows the rounding of the weights and not that
of the activations. The copy made here stores each FP16 tensor as the half it would be, in FP32, and
rounds it by arithmetic, which ONNX Runtime keeps as it stands:

    c = (2^13 + 1) x,  y = c - (c - x)    the 11 leading bits of x, to nearest, ties to even
    |x| <  2^-14:      y = x + 3/4 - 3/4  halves lie 2^-24 apart there, as floats do in [1/2, 1)
    |x| >= 65520:      y = x * 1e38       infinite with the sign of x, as half has it; NaN stays NaN

Equal to an IEEE conversion for every float; only the sign of zero is lost below 2^-25.

Emulated is storage: a layer sums in FP32 and its result is rounded once, where the file says FP16.
A GPU that fuses layers rounds less often. One that sums in FP16 rounds more often, and so does
`MaskrtRoiAlign` where its portable body runs in FP16: here it is the plugin, FP32 inside.

Source: T. J. Dekker 1971, A floating-point technique for extending the available precision,
section 5 (Veltkamp's splitting).
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
from ..operators.domain import DOMAIN, constants, import_domain, standard_opset
from ..typed_graph import TypedGraph
from .policy import FOLLOWERS

ROUND_TO_HALF = "MaskrtRoundToHalf"

_CONSTANTS = constants(
    splitter=8193.0,
    smallest_normal=2.0**-14,
    three_quarters=0.75,
    first_too_large=65520.0,
    huge=1e38,
)
# One function, called once per FP16 tensor; ONNX Runtime inlines it. The lane that Where does not
# take may hold NaN: c overflows above 4e34.
_ROUND_BODY = """
<domain: "maskrt", opset_import: ["" : {opset}]>
MaskrtRoundToHalf (x) => (y)
{{
{constants}
    c = Mul (x, splitter)
    low = Sub (c, x)
    normal = Sub (c, low)
    on_grid = Add (x, three_quarters)
    subnormal = Sub (on_grid, three_quarters)
    infinite = Mul (x, huge)

    magnitude = Abs (x)
    is_small = Less (magnitude, smallest_normal)
    fits = Less (magnitude, first_too_large)
    finite = Where (is_small, subnormal, normal)
    y = Where (fits, finite, infinite)
}}
"""


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """The FP32 model that gives what FP16 storage of every FP16 tensor of `model` gives.

    Args:
        model: as `precision.to_fp16` writes it (left alone). Without FP16 in it, the result is a
            copy.

    Returns:
        A checked model with the same graph inputs, outputs and metadata (the contract still says
        fp16). FP16 stored values are FP32 of the same value, FP16 Casts and layers are followed by
        `MaskrtRoundToHalf`. It is made for accuracy on a CPU: no subject for a build or a bench.

    Raises:
        ExportError: something stays FP16 (a graph input, a constant that is no initializer).

    """
    graph = TypedGraph(shape_inference.infer_shapes(model))
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    for node in graph.nodes:
        result.graph.node.extend(_in_float(graph, node))
    result.graph.initializer.extend(_widened(tensor) for tensor in graph.stored.values())
    _add_function(result)
    return _without_half(result)


def write_emulated(fp16_path: Path, out: Path) -> None:
    """Write `emulated` of an exported FP16 file, atomically; `fp16_path` is left alone.

    Raises:
        InputError: `fp16_path` is missing, no ONNX file, not an FP16 export of maskrt, or `out`
            itself; or `out` cannot be written.
        ContractError: its contract is unreadable.
        ExportError: as `emulated`.

    """
    model = load_fp16(fp16_path)
    if out.resolve() == fp16_path.resolve():
        raise InputError(
            f"{out}: the emulation would replace the FP16 file itself; expected another name. "
            f"Write it beside, as {fp16_path.stem}-emulated.onnx."
        )
    copy = emulated(model)
    with atomic_path(out) as temporary:
        onnx.save(copy, temporary)


@contextmanager
def emulated_file(fp16_path: Path) -> Iterator[Path]:
    """Yield the path of `write_emulated`'s file, which lasts as long as the block.

    Raises:
        InputError, ContractError, ExportError: as `write_emulated`.

    """
    with tempfile.TemporaryDirectory(prefix="maskrt-") as folder:
        path = Path(folder) / "emulated.onnx"
        write_emulated(fp16_path, path)
        yield path


def load_fp16(path: Path) -> onnx.ModelProto:
    """Read an exported FP16 file.

    Raises:
        InputError: it is missing, no ONNX file, or not an FP16 export of maskrt.
        ContractError: its contract is unreadable.

    """
    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as err:
        raise InputError(
            f"{path}: could not be read as ONNX ({err}); expected a file of `maskrt export "
            "--precision fp16`. Export the checkpoint again."
        ) from err
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    found = contract_from_metadata(metadata, str(path)).precision
    if found != "fp16":
        raise InputError(
            f"{path}: {found} found; expected an fp16 export, as only FP16 is emulated. "
            "Export with --precision fp16, or run the file as it is."
        )
    return model


def _in_float(graph: TypedGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The node in FP32, then one rounding for each FP16 output that it computes."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
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


def _widened(tensor: TensorProto) -> TensorProto:
    """FP16 values as FP32, any other tensor as it is."""
    if tensor.data_type != TensorProto.FLOAT16:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _add_function(model: onnx.ModelProto) -> None:
    """Attach the body of `MaskrtRoundToHalf` where a node calls it and it is not there yet."""
    called = any(node.op_type == ROUND_TO_HALF for node in model.graph.node)
    if not called or any(function.name == ROUND_TO_HALF for function in model.functions):
        return
    import_domain(model)
    body = _ROUND_BODY.format(opset=standard_opset(model), constants=_CONSTANTS)
    model.functions.append(parser.parse_function(body))


def _without_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with all types inferred, once it is valid and none of them is FP16."""
    try:
        onnx.checker.check_model(model, full_check=True)
        result = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as err:
        raise ExportError(
            f"emulation of {model.graph.name}: {err} Expected FP16 only as to_fp16 writes it. "
            "Report the operator."
        ) from err
    half = list(_half_names(result.graph))
    if half:
        raise ExportError(
            f"emulation of {model.graph.name}: '{half[0]}' is still FP16; expected FP16 only as "
            "to_fp16 writes it. Report the operator."
        )
    return result


def _half_names(graph: onnx.GraphProto) -> Iterable[str]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            yield value.name
