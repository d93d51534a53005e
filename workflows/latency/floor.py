"""What the bench's physical floor needs of ONNX: an artefact's work, and the probes of peaks.

`eval/timing/floor.py` and `peaks.py` do the arithmetic and the timing; this counts with `export`,
reads sidecars and opens models that are no artefacts.

A probe is a chain of equal layers, so that handing over its input and output is small beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...eval.timing.floor import Work
from ...eval.timing.peaks import Probe
from ...runtime.contract import Contract
from ...runtime.sessions.interface import Backend
from ...runtime.sessions.open import CHECKPOINT
from ...runtime.sessions.ort_module import provider_trouble
from ...runtime.sessions.ort_providers import CPU, CUDA

if TYPE_CHECKING:
    from ...eval.timing.runner import Candidate

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Kind = tuple[str, str]
"""Device and precision."""


@dataclass(frozen=True)
class Layers:
    """A chain of equal layers without bias: output and input have one shape."""

    op_type: str
    shape: Shape
    """Of what goes through."""
    weight: Shape
    depth: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole chain."""
        contracted = self.weight[0] if self.op_type == "MatMul" else prod(self.weight[1:])
        return self.depth * prod(self.shape) * contracted

    @property
    def name(self) -> str:
        """E.g. "MatMul 1024x1024 by 1024x1024"."""
        through, weight = ("x".join(map(str, shape)) for shape in (self.shape, self.weight))
        return f"{self.op_type} {through} by {weight}"


OF_OPENVINO: tuple[Kind, ...] = (("cpu", "bf16"), ("cpu", "int8"))


def _chains(rows: int, channels: int, side_px: int, depth: int) -> tuple[Layers, ...]:
    """A square product, a 3 x 3 and a 1 x 1 convolution: which is quickest differs by library."""
    wide, map_hw = 2 * channels, (side_px, side_px)
    return (
        Layers("MatMul", (rows, rows), (rows, rows), depth),
        Layers("Conv", (1, channels, *map_hw), (channels, channels, 3, 3), depth),
        Layers("Conv", (1, wide, *map_hw), (wide, wide, 1, 1), depth),
    )


CHAINS: Mapping[Kind, tuple[Layers, ...]] = {
    ("cpu", "fp32"): _chains(1024, 256, 64, 1),
    # some ten times as fast, so ten times as much
    ("cpu", "bf16"): _chains(1024, 256, 64, 8),
    ("cpu", "int8"): _chains(1024, 256, 64, 8),
    ("cuda", "fp32"): _chains(4096, 512, 128, 4),
    ("cuda", "fp16"): _chains(8192, 512, 128, 8),
}


def probes_for(backends: Iterable[Backend]) -> list[Probe]:
    """The probes that rows of these backends need, as far as this machine has the libraries."""
    if find_spec("onnx") is None:
        return []
    kinds = dict.fromkeys(
        (backend.device, precision)
        for backend in backends
        for precision in ("fp32", backend.half_precision, backend.precision)
    )
    return [probe for kind in kinds for probe in _probes(kind)]


def _probes(kind: Kind) -> list[Probe]:
    device, precision = kind
    maker = _maker(kind)
    if maker is None:
        return []
    library, run = maker
    return [
        Probe(device, precision, f"{library} {chain.name}", chain.macs, run(chain))
        for chain in CHAINS.get(kind, ())
    ]


def _maker(kind: Kind) -> tuple[str, Callable[[Layers], Callable[[], object]]] | None:
    """The library that multiplies in this precision here, and what opens a chain in it."""
    if kind in OF_OPENVINO:
        run = functools.partial(_openvino_run, int8=kind[1] == "int8")
        return ("OpenVINO", run) if find_spec("openvino") else None
    if find_spec("onnxruntime") is None:
        return None
    device, precision = kind
    if device == "cpu":
        return "ONNX Runtime", _onnxruntime_run
    if provider_trouble(CUDA) is not None:
        return None
    return "ONNX Runtime", functools.partial(_cuda_run, half=precision == "fp16")


def chain_model(chain: Layers, half: bool = False) -> bytes:
    """The chain as an ONNX file: X through `depth` layers of one weight to Y."""
    from onnx import TensorProto, helper, numpy_helper

    dtype = np.float16 if half else np.float32
    contracted = chain.weight[0] if chain.op_type == "MatMul" else prod(chain.weight[1:])
    # so that values neither grow nor vanish along the chain
    weight = np.random.default_rng(0).standard_normal(chain.weight) / np.sqrt(contracted)
    names = ["X", *(f"T{i}" for i in range(1, chain.depth)), "Y"]
    attributes: dict[str, Any] = (
        {} if chain.op_type == "MatMul" else {"pads": [chain.weight[2] // 2] * 4}
    )
    nodes = [
        helper.make_node(chain.op_type, [names[i], "W"], [names[i + 1]], **attributes)
        for i in range(chain.depth)
    ]
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, chain.shape) for name in ("X", "Y")]
    stored = [numpy_helper.from_array(weight.astype(dtype), "W")]
    graph = helper.make_graph(nodes, "probe", ends[:1], ends[1:], stored)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def int8_chain_model(chain: Layers) -> bytes:
    """The same chain between QuantizeLinear and DequantizeLinear, with stored int8 weights."""
    from onnx import ModelProto, helper, numpy_helper

    model = ModelProto.FromString(chain_model(chain))
    graph, layers = model.graph, list(model.graph.node)
    weight = numpy_helper.to_array(graph.initializer[0])
    scale = np.float32(np.abs(weight).max() / 127)
    del graph.node[:], graph.initializer[:]
    steps = np.round(weight / scale).astype(np.int8)
    stored = {"W_q": steps, "W_scale": scale, "scale": np.float32(1 / 32), "zero": np.int8(0)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), n) for n, v in stored.items())
    graph.node.append(helper.make_node("DequantizeLinear", ["W_q", "W_scale", "zero"], ["W"]))
    for layer in layers:
        name = layer.input[0]
        pair = [f"{name}_q", "scale", "zero"]
        graph.node.append(helper.make_node("QuantizeLinear", [name, *pair[1:]], pair[:1]))
        graph.node.append(helper.make_node("DequantizeLinear", pair, [f"{name}_dq"]))
        layer.input[0] = f"{name}_dq"
        graph.node.append(layer)
    return bytes(model.SerializeToString())


def _input(chain: Layers, half: bool = False) -> Array:
    values = np.random.default_rng(1).standard_normal(chain.shape)
    return values.astype(np.float16 if half else np.float32)


def _onnxruntime_run(chain: Layers) -> Callable[[], object]:
    import onnxruntime

    from ..operators.candidates import cores

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(chain_model(chain), options, providers=[CPU])
    return functools.partial(session.run, ["Y"], {"X": _input(chain)})


def _openvino_run(chain: Layers, int8: bool = False) -> Callable[[], object]:
    import openvino

    from ...runtime.sessions.openvino_session import openvino_core

    core = openvino_core(openvino)
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16"}
    model = int8_chain_model(chain) if int8 else chain_model(chain)
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    request = compiled.create_infer_request()
    return functools.partial(request.infer, {"X": _input(chain)}, share_inputs=True)


def _cuda_run(chain: Layers, half: bool) -> Callable[[], object]:
    import onnxruntime

    from ...runtime.sessions.ort_providers import CUDA_OPTIONS

    providers = [(CUDA, CUDA_OPTIONS)]
    session = onnxruntime.InferenceSession(chain_model(chain, half), providers=providers)
    binding = session.io_binding()
    binding.bind_ortvalue_input(
        "X", onnxruntime.OrtValue.ortvalue_from_numpy(_input(chain, half), "cuda", 0)
    )
    binding.bind_output("Y", "cuda")

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def works_of(files: Sequence[tuple[Path, Candidate]]) -> dict[str, Work]:
    """What each opened file has to do, by row name; what cannot be counted is left out.

    A checkpoint has no graph to count: it takes the work of an FP32 ONNX file of the same call that
    was exported from it in the same shapes.
    """
    works: dict[str, Work] = {}
    exported: dict[tuple[Any, ...], Work] = {}
    for path, candidate in files:
        contract = candidate.predictor.contract
        if path.suffix == ".onnx" and find_spec("onnx") is not None:
            works[candidate.name] = _onnx_work(path)
            if contract.precision == "fp32":
                exported[_network(contract)] = works[candidate.name]
        elif path.suffix == ".engine" and (work_of_engine := _engine_work(path)) is not None:
            works[candidate.name] = work_of_engine
    for path, candidate in files:
        work = exported.get(_network(candidate.predictor.contract))
        if path.suffix == CHECKPOINT and work is not None:
            half = candidate.predictor.session.backend.precision == "fp16"
            works[candidate.name] = _of_checkpoint(work, half)
    return works


def _network(contract: Contract) -> tuple[Any, ...]:
    return contract.checkpoint_sha256, contract.inputs, contract.outputs


def _onnx_work(path: Path) -> Work:
    from onnx import numpy_helper

    from ...engines.inline import read_exported
    from ...export.macs import graph_macs

    model, contract = read_exported(path)
    cost = graph_macs(model)
    int8_macs = sum(n.macs for n in cost.nodes if n.weighted and n.precision == "int8")
    weights_bytes = sum(numpy_helper.to_array(t).nbytes for t in model.graph.initializer)
    return Work(
        full_macs=cost.layer_macs - cost.half_layer_macs - int8_macs,
        half_macs=cost.half_layer_macs,
        least_bytes=weights_bytes + _ends_bytes(contract),
        source="its layers with weights",
        int8_macs=int8_macs,
    )


def _engine_work(path: Path) -> Work | None:
    """From its sidecar; the file's size stands for its weights, which are nearly all of it."""
    from ...runtime.sidecar import read_sidecar

    sidecar = read_sidecar(path)
    network = sidecar.build.get("network")
    if not isinstance(network, dict):
        return None
    half_macs = round(network["macs"] * network["fp16_mac_share"])
    return Work(
        full_macs=network["macs"] - half_macs,
        half_macs=half_macs,
        least_bytes=sidecar.fingerprint.engine_bytes + _ends_bytes(sidecar.contract),
        source="the network that TensorRT parsed",
    )


def _of_checkpoint(work: Work, half: bool) -> Work:
    """The work of its FP32 ONNX file; torch's FP16 session multiplies everything in FP16."""
    return Work(
        full_macs=0 if half else work.full_macs,
        half_macs=work.full_macs if half else 0,
        least_bytes=work.least_bytes,
        source="the ONNX file exported from it",
    )


def _ends_bytes(contract: Contract) -> int:
    specs = (*contract.inputs, *contract.outputs)
    return sum(prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs)
