"""OpenVINO as a `Session`: an exported `.onnx` on a CPU, for servers without a GPU.

An FP32 file runs in FP32. FP16 in a file runs in BF16 where the CPU multiplies it (AMX or AVX-512
BF16), else in FP32: CPUs have no FP16 products, and BF16 has the same size with FP32's range. INT8
layers run in INT8; OpenVINO itself fuses them with what stands behind.

The file says which tensors are half; all others stay FP32, because OpenVINO's own rule (everything
before the last layer) would put box coordinates into 8 bits, steps of 4 pixels at 1000. OpenVINO
has one switch for that, a node attribute that its Python API cannot set; its file format can, so
the model goes through a temporary file (`openvino_graph`).

Custom operators are inlined: OpenVINO reads no model-local functions.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..contract import Contract, Outputs, Precision, contract_from_metadata
from ..errors import SessionError, pip_line
from .inlined import inlined_model
from .interface import Backend, Computes, OnDevice, check_inputs, closed_error
from .openvino_graph import keep_products_apart, with_islands

CPU = "CPU"
# Starts of the lines of an error that name OpenVINO's source files or its manual.
NOISE = (
    "Exception from",
    "Check '",
    "FrontEnd API",
    "Summary",
    "To facilitate",
    "-- Conversion is",
)


class OpenVinoSession(Closing):
    """An exported ONNX file compiled for this CPU. Implements `interface.Session`."""

    contract: Contract
    backend: Backend
    on_device: OnDevice | None = None

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Compile the file.

        Args:
            path: an `.onnx` file exported by maskrt.
            threads: CPU threads of one request; None leaves it to OpenVINO.

        Raises:
            InputError: the file carries no contract.
            SessionError: openvino or onnx is missing, or the file is corrupt or holds something
                that OpenVINO cannot run.
            ContractError: its contract is unreadable or of another schema.
        """
        openvino = _openvino()
        core = openvino_core(openvino)
        model = inlined_model(Path(path), "openvino")
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.contract = contract_from_metadata(metadata, str(path))
        half = self.contract.has_half and "BF16" in core.get_property(
            CPU, "OPTIMIZATION_CAPABILITIES"
        )
        self.backend = _backend(self.contract.precision, half)
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        keep_products_apart(model)
        try:
            read = core.read_model(model.SerializeToString())
            read = with_islands(openvino, core, read) if half else read
            compiled = core.compile_model(read, CPU, options)
        except RuntimeError as err:
            raise SessionError(
                f"{path}: OpenVINO cannot run it ({_words(err)}); expected an ONNX file "
                "exported by maskrt. Export it again, or use ONNX Runtime."
            ) from err
        self._request: Any = compiled.create_infer_request()
        # a request has one set of buffers
        self._one_at_a_time = threading.Lock()

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch; arguments, result and ContractError as `Session.run`.

        Raises:
            SessionError: the session is closed, or OpenVINO fails (its words are quoted).
        """
        check_inputs(self.contract, images, image_sizes)
        specs = self.contract.outputs
        with self._one_at_a_time:
            request = self._request
            if request is None:
                raise closed_error(self.contract.variant)
            try:
                inputs = {"images": images, "image_sizes": image_sizes}
                results = request.infer(inputs, share_inputs=True)
            except RuntimeError as err:
                raise SessionError(
                    f"{self.contract.variant}: OpenVINO stopped ({_words(err)}). "
                    "Free memory, or use ONNX Runtime."
                ) from err
            arrays = [np.array(value) for _, value in zip(specs, results.values(), strict=False)]
        # by place: OpenVINO may have given an output the name of an equal tensor
        return dict(zip((spec.name for spec in specs), arrays, strict=True))

    def close(self) -> None:
        """Release the model's memory; a second call does nothing."""
        self._request = None


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as err:
        raise SessionError(
            f"OpenVINO: not usable ({err}); expected the package openvino. " + pip_line("openvino")
        ) from err
    return openvino


@functools.cache
def openvino_core(openvino: Any) -> Any:
    """The process's one core, never released; `openvino` is the module. Make no other.

    Each core's CPU plugin gives the thread that loads it a stack for signal handlers; when the core
    goes, it frees that memory and puts the stack before it back. Where another thread lets it go,
    or two cores go in the order in which they came, a thread is left with memory that is gone, and
    its next signal (a worker process that ended, Ctrl-C) ends the process.
    """
    return openvino.Core()


def _backend(precision: Precision, half: bool) -> Backend:
    label = "openvino-cpu-int8" if precision == "int8" else "openvino-cpu"
    rest: Computes = "bf16" if half else "fp32"
    computes: Computes = "int8" if precision == "int8" else rest
    return Backend("openvino", "cpu", computes, f"{label}-bf16" if half else label, rest)


def _words(err: Exception) -> str:
    """What an OpenVINO message says, without the source files it names and its advice."""
    lines = [line.strip() for line in str(err).splitlines()]
    kept = [line for line in lines if line and not line.startswith(NOISE)]
    return "; ".join(kept)[:300] or type(err).__name__
