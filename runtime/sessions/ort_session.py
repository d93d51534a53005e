"""ONNX Runtime as a `Session`: any `.onnx` that maskrt exported, by one of its providers.

The custom operators are local functions with standard bodies, so nothing is registered here. On a
GPU the inputs and outputs stay bound to device buffers (`ort_binding.py`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..contract import Contract, Outputs, Precision, Rest, TensorSpec, contract_from_metadata
from ..errors import SessionError
from .interface import Backend, Computes, OnDevice, check_inputs, closed_error
from .ort_binding import OrtBinding
from .ort_module import import_onnxruntime, provider_advice, provider_trouble
from .ort_providers import (
    CPU,
    CUDA,
    PROVIDERS,
    ROUNDING_FP32,
    TENSORRT,
    cache_folder,
    provider_options,
)

log = logging.getLogger(__name__)

NAMES = {chain[0]: name for name, chain in PROVIDERS.items()}
"""ONNX Runtime's provider -> our name."""
PLACEMENT = "session.record_ep_graph_assignment_info"
AS_THE_FILE_SAYS = "session.disable_quant_qdq"
"""No rewriting around DequantizeLinear: what the nodes say is computed."""
DTYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's spelling where it differs from numpy's."""


class OrtSession(Closing):
    """An exported ONNX file loaded into ONNX Runtime. Implements `interface.Session`."""

    contract: Contract
    backend: Backend
    provider: str
    """What runs it, by our name (`ort_providers.py`)."""
    on_device: OnDevice | None
    """Runs that leave inputs and outputs on the GPU; None on a CPU, which has no other side."""

    def __init__(
        self,
        path: str | Path,
        provider: str | None = None,
        threads: int | None = None,
        *,
        device_index: int = 0,
        profile_prefix: Path | None = None,
    ) -> None:
        """Load the file and check it against its own contract.

        Args:
            path: an `.onnx` file exported by maskrt.
            provider: `cpu`, `cuda`, `tensorrt` or `tensorrt-rtx` (`ort_providers.py`); None takes
                CUDA where this ONNX Runtime offers it, else the CPU.
            threads: CPU threads inside one operator; None uses the physical cores.
            device_index: of the GPU, where the provider runs on one.
            profile_prefix: where ONNX Runtime's profiler writes; None leaves it off.

        Raises:
            InputError: the file carries no contract.
            SessionError: onnxruntime or a provider is missing, or the file is corrupt.
            ContractError: its contract is unreadable or of another schema.
        """
        runtime = import_onnxruntime()
        chain = _chain(str(path), runtime, provider, device_index)
        options = _options(runtime, threads, profile_prefix)
        if chain[0] == CPU:  # FP16 scales underflow in its rewrites, and FP8 has no kernels
            options.add_session_config_entry(AS_THE_FILE_SAYS, "1")
        self._session: Any = _load(runtime, Path(path), chain, options, device_index)
        self.contract = _contract(self._session, str(path))
        if chain[0] == CPU and self.contract.precision == "int8" and self.contract.rest != "fp16":
            options = _options(runtime, threads, profile_prefix)
            self._session = _load(runtime, Path(path), chain, options, device_index)
        self._output_names = [spec.name for spec in self.contract.outputs]
        running = self._session.get_providers()[0]
        if running != chain[0]:
            raise SessionError(
                f"{path}: {chain[0]} started for a smaller model, but for this one ONNX Runtime "
                f"fell back to {running}; expected it to run there. Free GPU memory, or ask for "
                "the CPU."
            )
        self.provider = NAMES[running]
        self.backend = _backend(self.provider, self.contract)
        self._one_at_a_time = threading.Lock()
        self._binding: OrtBinding | None = None
        if running != CPU:
            self._binding = OrtBinding(runtime, self._session, self.contract, "cuda", device_index)
        self.on_device = self._binding

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch; arguments, result and ContractError as `Session.run`.

        Raises:
            SessionError: the session is closed, or ONNX Runtime fails (its words are quoted).
        """
        check_inputs(self.contract, images, image_sizes)
        session, binding = self._session, self._binding
        if session is None:
            raise closed_error(self.contract.variant)
        inputs = {"images": images, "image_sizes": image_sizes}
        try:
            if binding is None:
                arrays = session.run(self._output_names, inputs)
                return dict(zip(self._output_names, arrays, strict=True))
            with self._one_at_a_time:  # there is one set of buffers
                binding.upload(images, image_sizes)
                binding.execute()
                return binding.download()
        except Exception as err:  # its errors share no base class
            raise SessionError(
                f"{self.contract.variant}: ONNX Runtime stopped ({_one_line(err)}). "
                "Try a smaller batch or canvas, or another provider."
            ) from err

    def placement(self) -> dict[str, int]:
        """How many nodes each provider was given, by our name for it; empty before 1.24."""
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            return {}
        counts: Counter[str] = Counter()
        for part in self._session.get_provider_graph_assignment_info():
            counts[NAMES.get(part.ep_name, part.ep_name)] += len(part.get_nodes())
        return dict(counts)

    def end_profiling(self) -> Path:
        """Stop the profiler that `profile_prefix` started; returns the JSON it wrote."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Release the model's memory; a second call does nothing."""
        self._session = self._binding = self.on_device = None


def _chain(where: str, runtime: Any, asked: str | None, device_index: int) -> tuple[str, ...]:
    """The providers to try, the first of them known to start."""
    if asked is not None and asked not in PROVIDERS:
        raise SessionError(
            f"ONNX Runtime: provider '{asked}' found; expected one of {', '.join(PROVIDERS)}. "
            "Choose one of these."
        )
    offered = runtime.get_available_providers()
    chain = PROVIDERS[asked or ("cuda" if CUDA in offered else "cpu")]
    trouble = provider_trouble(chain[0], device_index)
    if trouble is not None and asked is None:
        log.warning("%s: %s cannot start (%s); running on the CPU.", where, chain[0], trouble)
        return PROVIDERS["cpu"]
    if trouble is not None:
        raise SessionError(
            f"{where}: {chain[0]} cannot start ({trouble}); expected it to. "
            f"{provider_advice(trouble)}."
        )
    return tuple(name for name in chain if name in offered)


def _options(runtime: Any, threads: int | None, profile_prefix: Path | None) -> Any:
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = _default_threads() if threads is None else threads
    options.log_severity_level = 3  # errors only: warnings about unused initializers help nobody
    options.add_session_config_entry(PLACEMENT, "1")
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    return options


def _backend(provider: str, contract: Contract) -> Backend:
    precision = contract.precision
    label = f"onnxruntime-{provider}"
    if provider in ROUNDING_FP32 and precision == "fp32":
        label += "-tf32"
    if provider != "cpu":
        return Backend("onnxruntime", "cuda", precision, label)
    # its CPU provider computes FP16 and FP8 in FP32, between casts
    computes: Computes = "fp32" if contract.is_emulated_on_cpu else precision
    return Backend("onnxruntime", "cpu", computes, label)


def _load(runtime: Any, path: Path, chain: tuple[str, ...], options: Any, device_index: int) -> Any:
    known = _contract_first(runtime, path) if chain[0] == TENSORRT else None
    types: tuple[Precision, Rest | None] = ("fp32", None)
    if known is not None:
        types = known.precision, known.rest
    if len(chain) > 1:
        cache_folder().mkdir(parents=True, exist_ok=True)
    providers = [(name, provider_options(name, types[0], device_index, types[1])) for name in chain]
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as err:  # its errors share no base class
        raise SessionError(
            f"{path}: ONNX Runtime could not load it ({_one_line(err)}); expected an ONNX file "
            "exported by maskrt. Export the checkpoint again."
        ) from err


def _contract_first(runtime: Any, path: Path) -> Contract:
    """The file's contract; a provider's options come before its session."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _contract(runtime.InferenceSession(str(path), options, providers=[CPU]), str(path))


def _default_threads() -> int:
    """0 lets ONNX Runtime take one thread per physical core; inside a CPU set, as many as allowed.

    ONNX Runtime counts the machine's cores, not the ones this process may use, and pins to them.
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0
    allowed = len(os.sched_getaffinity(0))
    return 0 if allowed == os.cpu_count() else allowed


def _contract(session: Any, where: str) -> Contract:
    """The contract in the file's metadata, checked against the graph it is about."""
    contract = contract_from_metadata(session.get_modelmeta().custom_metadata_map, where)
    stated = {*contract.inputs, *contract.outputs}
    found = {_spec(value) for value in (*session.get_inputs(), *session.get_outputs())}
    if stated != found:
        odd = sorted(stated ^ found, key=lambda spec: spec.name)[0]
        side = "contract" if odd in stated else "graph"
        raise SessionError(
            f"{where}: contract and graph differ: only the {side} has '{odd.name}' {odd.shape} "
            f"{odd.dtype}. The file was changed after export: export it again."
        )
    return contract


def _spec(value: Any) -> TensorSpec:
    dtype = value.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(value.name, tuple(value.shape), DTYPES.get(dtype, dtype))


def _one_line(err: Exception) -> str:
    """ONNX Runtime's message on one line, without its status prefix."""
    return " ".join(str(err).split()).rsplit("[ONNXRuntimeError] : ", 1)[-1]
