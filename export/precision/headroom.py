"""How near to FP16's end each tensor of an FP16 file comes: largest |x| / 65504 over pictures.

Measured in FP32 on the file's own graph and weights, so that a value beyond the end is seen with
its size and what follows it is not hidden behind infinities. A share of 1 or more overflows on a
GPU; how much room below it is enough depends on how far other pictures are from these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from ...runtime.contract import Contract, contract_from_metadata
from ...runtime.pictures.preprocess import place_on_canvas
from ..typed_graph import scope_of
from .emulation import ROUND_TO_HALF, emulated, load_typed
from .mixed_graph import HALF_MAX

WORST = 5
"""Tensors that are named."""
PEAKS = "maskrt_peaks"


@dataclass(frozen=True)
class Peak:
    """The largest value of one module's FP16 tensors."""

    name: str
    """Module path as `maskrt bisect` names it, or the tensor where no module made it."""
    share: float
    """Largest |x| / 65504; 1 and more overflows."""


@dataclass(frozen=True)
class TensorPeak:
    """The largest value of one FP16 tensor."""

    node: str
    """Name of the node that makes it."""
    name: str
    """As `Peak`'s."""
    share: float
    """As `Peak`'s."""


@dataclass(frozen=True)
class Headroom:
    """The fullest FP16 tensors of a file over some pictures."""

    pictures: int
    tensors: int
    """That were looked at."""
    worst: tuple[Peak, ...]
    """The fullest first, at most five."""

    @property
    def overflows(self) -> tuple[Peak, ...]:
        """Those of the worst that leave FP16."""
        return tuple(peak for peak in self.worst if peak.share >= 1)

    def __str__(self) -> str:
        """One line for people."""
        peaks = ", ".join(f"{peak.name} {peak.share:.2g}" for peak in self.worst)
        pictures = "1 picture" if self.pictures == 1 else f"{self.pictures} pictures"
        end = "; 1 and more is an overflow" if self.overflows else ""
        return f"FP16 headroom, largest |x| / 65504 on {pictures}: {peaks or 'no FP16'}{end}"


def measure_headroom(path: Path, pictures: Sequence[npt.NDArray[np.uint8]]) -> Headroom:
    """Run an exported FP16 file in FP32 and keep the largest value of each FP16 tensor.

    Args:
        path: as `maskrt export --precision fp16` writes it.
        pictures: (H, W, 3) uint8 RGB, any number of any size.

    Raises:
        InputError: `path` is not an FP16 export of maskrt.
        ContractError: its contract is unreadable.
        ExportError: something in it is not as `to_fp16` writes it.
    """
    model = load_typed(path)
    contract = contract_from_metadata({e.key: e.value for e in model.metadata_props}, str(path))
    peaks = tensor_peaks(model, batches_of(pictures, contract))
    return Headroom(len(pictures), len(peaks), _worst(peaks))


def tensor_peaks(
    model: onnx.ModelProto, feeds: Iterable[Mapping[str, npt.NDArray[Any]]]
) -> tuple[TensorPeak, ...]:
    """The largest value of each FP16 tensor of a typed model over some runs in FP32.

    Args:
        model: as `to_fp16` or `to_mixture` writes it.
        feeds: the inputs of each run, by name.

    Raises:
        ExportError: something in it is not as `to_fp16` writes it.
    """
    watched, makers = _watched(emulated(model))
    if not makers:
        return ()
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    peaks = np.zeros(len(makers), np.float32)
    for inputs in feeds:
        (found,) = session.run([PEAKS], dict(inputs))
        peaks = np.maximum(peaks, found)
    shares = (peaks / HALF_MAX).tolist()
    return tuple(
        TensorPeak(node, name, share) for (node, name), share in zip(makers, shares, strict=True)
    )


def batches_of(
    pictures: Sequence[npt.NDArray[np.uint8]], contract: Contract
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Inputs of each run on decoded pictures; canvases past the last one are empty."""
    for start in range(0, len(pictures), contract.batch):
        images, sizes = place_on_canvas(pictures[start : start + contract.batch], contract)
        yield {"images": images, "image_sizes": sizes}


def _worst(peaks: Sequence[TensorPeak]) -> tuple[Peak, ...]:
    """The fullest modules; one of several tensors is as full as its fullest."""
    by_name: dict[str, float] = {}
    for peak in peaks:
        by_name[peak.name] = max(by_name.get(peak.name, 0.0), peak.share)
    ordered = sorted(by_name.items(), key=lambda item: -item[1])
    return tuple(Peak(name, share) for name, share in ordered[:WORST])


def _watched(copy: onnx.ModelProto) -> tuple[onnx.ModelProto, list[tuple[str, str]]]:
    """The model without its roundings and with the peak of each as output; whose they are."""
    graph = copy.graph
    makers = {name: node for node in graph.node for name in node.output}
    names, peaks, added = [], [], []
    for node in graph.node:
        if node.op_type != ROUND_TO_HALF:
            continue
        source, target = node.input[0], node.output[0]
        maker = makers.get(source, node)
        names.append((maker.name, scope_of(maker) or target if source in makers else target))
        node.op_type, node.domain = "Identity", ""
        added += [
            helper.make_node("Abs", [source], [f"{target}_abs"]),
            helper.make_node("ReduceMax", [f"{target}_abs"], [f"{target}_max"], keepdims=0),
            helper.make_node("Reshape", [f"{target}_max", f"{PEAKS}_one"], [f"{target}_peak"]),
        ]
        peaks.append(f"{target}_peak")
    graph.initializer.append(helper.make_tensor(f"{PEAKS}_one", TensorProto.INT64, [1], [1]))
    graph.node.extend([*added, helper.make_node("Concat", peaks, [PEAKS], axis=0)])
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(PEAKS, TensorProto.FLOAT, [len(names)]))
    return copy, names
