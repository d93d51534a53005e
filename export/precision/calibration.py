"""Ranges of activations over pictures: what INT8 and FP8 have to hold, once for every tensor.

The range of a tensor is the |x| that 99.999 % of its values over all pictures do not exceed. Of
each tensor only the largest values are kept from picture to picture, so the share is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import shape_inference
from rich.console import Console
from rich.progress import track

from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ...runtime.pictures.preprocess import place_on_canvas, read_image
from ..typed_graph import TypedGraph
from .policy import SUMS, is_layer, reaches_layer

BEYOND = 1e-5
"""Share of a tensor's values that may be larger than its range: with every layer in INT8 the
greatest change was 0.19 points in LSC tiny and 0.26 in FastMask tiny. The largest value as range
(0.37) and a share of 1e-4 (0.32) fail FastMask's gate of 0.3, and the range of least entropy (0.29)
all but fails LSC's."""
FEW_PICTURES = 32
"""Below it a few unusual pictures decide."""


def calibrated(
    model: onnx.ModelProto, contract: Contract, pictures: Sequence[Path]
) -> dict[str, float]:
    """Ranges of all that layers and sums between layers read and give, by tensor of the FP32 model.

    Args:
        model: FP32 with its functions; left alone.
        contract: its batch, canvas and resize rule.
        pictures: files, other ones than accuracy is measured on.

    Raises:
        InputError: no picture is named, or one cannot be read.

    """
    require_pictures(pictures)
    return ranges_over(model, _batches(contract, pictures), -(-len(pictures) // contract.batch))


def ranges_over(
    model: onnx.ModelProto, feeds: Iterable[Mapping[str, npt.NDArray[Any]]], runs: int
) -> dict[str, float]:
    """The same of any FP32 model, over so many runs on inputs by name."""
    names = _around_layers(model)
    given = {value.name for value in model.graph.input}
    computed = [name for name in names if name not in given]
    session = ort.InferenceSession(
        _with_outputs(model, computed).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    largest: dict[str, npt.NDArray[np.float32]] = {name: np.zeros(0, np.float32) for name in names}
    told = track(feeds, "Ranges of tensors", runs, console=Console(stderr=True), transient=True)
    for inputs in told:
        found = session.run(computed, dict(inputs)) if computed else []
        for name, values in {**inputs, **dict(zip(computed, found, strict=True))}.items():
            if name not in largest:
                continue
            keep = _beyond(values.size * runs) + 1
            largest[name] = _largest(np.concatenate([largest[name], np.abs(values).ravel()]), keep)
    return {name: float(values.min()) for name, values in largest.items()}


def require_pictures(pictures: Sequence[Path]) -> None:
    """Refuse a calibration on nothing.

    Raises:
        InputError: no picture is named.

    """
    if not pictures:
        raise InputError(
            "calibration: no pictures found; expected some dozens like those that the network will "
            "see. Name a labelled folder with --calibrate."
        )


def few_pictures(count: int) -> str | None:
    """What to say of a calibration on so many pictures; None where they are enough."""
    if count >= FEW_PICTURES:
        return None
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    return (
        f"calibrated on {pictures}; expected {FEW_PICTURES} or more, as ranges of a few do not "
        "hold for others. Name a folder with more, or raise --calibration-images."
    )


def _around_layers(model: onnx.ModelProto) -> list[str]:
    """What is read by a layer or by a sum before one, or given by a layer, and is no constant."""
    graph = TypedGraph(shape_inference.infer_shapes(model))
    read = [n.input[:1] for n in graph.nodes if is_layer(graph, n)]
    read += [n.input for n in graph.nodes if n.op_type in SUMS and reaches_layer(graph, n)]
    read += [_behind_relu(graph, n.output[0]) for n in graph.nodes if is_layer(graph, n)]
    names = dict.fromkeys(name for inputs in read for name in inputs)
    return [n for n in names if graph.is_float(n) and n not in graph.constant]


def _behind_relu(graph: TypedGraph, name: str) -> list[str]:
    """What a layer gives to others, which integer kernels of CPUs round too."""
    readers = [graph.nodes[index] for index in graph.consumers.get(name, ())]
    if [node.op_type for node in readers] == ["Relu"]:
        return _behind_relu(graph, readers[0].output[0])
    return [name] if readers else []


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    present = {value.name for value in model.graph.output}
    result.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in present)
    return result


def _batches(contract: Contract, pictures: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Inputs of each run; the last is filled up with the first pictures, not with black ones."""
    for first in range(0, len(pictures), contract.batch):
        chosen = [(first + i) % len(pictures) for i in range(contract.batch)]
        canvases, sizes = place_on_canvas([read_image(pictures[i]) for i in chosen], contract)
        yield {"images": canvases, "image_sizes": sizes}


def _beyond(count: int) -> int:
    """How many of so many values may be larger than the range."""
    return int(count * BEYOND)


def _largest(values: npt.NDArray[np.float32], keep: int) -> npt.NDArray[np.float32]:
    return values if len(values) <= keep else np.partition(values, -keep)[-keep:]
