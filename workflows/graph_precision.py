"""What a file computes in, read from its graph: its accuracy gate, and the report's map of modules.

A contract can say anything of its file, so it does not choose the gate by which it is judged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.bundle import graph_paths

if TYPE_CHECKING:
    import onnx

    from ..eval.report.precision_map import PrecisionMap
    from ..runtime.contract import Contract, Precision, Rest

STRICTEST_FIRST: tuple[Precision, ...] = ("fp32", "fp16", "fp8", "int8")


def graph_precision(path: Path) -> Precision:
    """FP16 where anything is, INT8 or FP8 where anything is quantized to it.

    Of an engine its sidecar has the parsed network. Where that is absent, and for checkpoints,
    which torch runs so, it is FP32, whose gate is the strictest. A bundle is what the graph with
    the strictest gate is.

    Raises:
        SessionError: an engine's sidecar is not usable.
        InputError: a bundle's index is not usable.
    """
    return min(map(_of_file, graph_paths(path)), key=STRICTEST_FIRST.index)


def _of_file(path: Path) -> Precision:
    if path.suffix.lower() == ".onnx":
        import onnx

        return model_precision(onnx.load(path, load_external_data=False))
    if path.suffix.lower() == ".engine":
        return _engine_precision(path)
    return "fp32"


def model_precision(model: onnx.ModelProto) -> Precision:
    """What a graph in memory computes in, as `graph_precision` says of its file."""
    import onnx

    types = set(_types(model))
    if any(node.op_type == "QuantizeLinear" for node in _nodes(model)):
        only_fp8 = onnx.TensorProto.FLOAT8E4M3FN in types and onnx.TensorProto.INT8 not in types
        return "fp8" if only_fp8 else "int8"
    return "fp16" if onnx.TensorProto.FLOAT16 in types else "fp32"


def typed_as(model: onnx.ModelProto, fp32: Contract) -> Contract:
    """The contract of a graph in memory that precisions were written into."""
    import onnx

    precision = model_precision(model)
    is_half = onnx.TensorProto.FLOAT16 in _types(model)
    rest: Rest | None = None if precision in ("fp32", "fp16") else "fp16" if is_half else "fp32"
    return dataclasses.replace(fp32, precision=precision, rest=rest)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from model.graph.node
    yield from (node for function in model.functions for node in function.node)


def _types(model: onnx.ModelProto) -> Iterator[int]:
    """Of stored tensors and of casts: a half tensor comes from one of these."""
    yield from (tensor.data_type for tensor in model.graph.initializer)
    for attribute in (attribute for node in _nodes(model) for attribute in node.attribute):
        yield attribute.t.data_type
        if attribute.name == "to":
            yield attribute.i


def _engine_precision(path: Path) -> Precision:
    from ..runtime.sidecar import read_sidecar

    layers = read_sidecar(path).build.get("network", {}).get("layers", [])
    if any("QUANTIZE" in kind.upper() for _, kind, *_ in layers):
        precisions = {precision for _, _, precision, *_ in layers}
        return "fp8" if "fp8" in precisions and "int8" not in precisions else "int8"
    return "fp16" if any(precision == "float16" for _, _, precision, *_ in layers) else "fp32"


def precision_maps(paths: Iterable[Path]) -> tuple[PrecisionMap, ...]:
    """What each module multiplies in, of each ONNX file that is not FP32 throughout.

    Raises:
        ExportError: a shape that is needed is not static.
        SessionError: a file is not usable.
    """
    files = [path for path in dict.fromkeys(paths) if path.suffix.lower() == ".onnx"]
    if find_spec("onnx") is None:
        return ()
    return tuple(_map(path) for path in files if graph_precision(path) != "fp32")


def _map(path: Path) -> PrecisionMap:
    from ..engines.inline import read_exported
    from ..eval.report.precision_map import Product, precision_map_of
    from ..export.roofline.floors import kernel_works

    products = [
        Product(work.scope or work.operator or "(rest)", work.precision, work.macs)
        for work in kernel_works(read_exported(path)[0])
        if work.macs
    ]
    return precision_map_of(path.name, products)
