"""ONNX Runtime as a `Session`: any `.onnx` that maskrt exported, on CPU or through CUDA.

The custom operators are local functions with standard bodies, so nothing is registered here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .contract import METADATA_KEY, Contract, TensorSpec, contract_from_json
from .errors import SessionError
from .session import Outputs, check_inputs

log = logging.getLogger(__name__)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DTYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's spelling where it differs from numpy's."""


class OrtSession:
    """An exported ONNX file loaded into ONNX Runtime. Implements `session.Session`."""

    contract: Contract
    backend: str

    def __init__(
        self,
        path: str | Path,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        profile_prefix: Path | None = None,
    ) -> None:
        """Load the file and check it against its own contract.

        Args:
            path: an `.onnx` file exported by maskrt.
            providers: execution providers in order of preference; None takes CUDA where this
                ONNX Runtime offers it, and the CPU.
            threads: CPU threads inside one operator; None uses the physical cores.
            profile_prefix: where ONNX Runtime's profiler writes; None leaves it off.

        Raises:
            SessionError: onnxruntime or a provider is missing, the file is corrupt, or it carries
                no contract.
            ContractError: its contract is unreadable or of another schema.
        """
        runtime = _onnxruntime()
        chosen = _providers(runtime, providers)
        self._session: Any = _load(
            runtime, Path(path), chosen, _options(runtime, threads, profile_prefix)
        )
        self.contract = _contract(self._session, str(path))
        self._output_names = [spec.name for spec in self.contract.outputs]
        running = self._session.get_providers()[0]
        if running != chosen[0]:
            if providers is not None:
                raise SessionError(
                    f"{path}: {chosen[0]} could not start and ONNX Runtime fell back to {running}. "
                    "Check its driver and libraries, or ask for the CPU."
                )
            log.warning("%s: %s could not start; running on %s.", path, chosen[0], running)
        self.backend = f"onnxruntime-{running.removesuffix('ExecutionProvider').lower()}"

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch; arguments, result and ContractError as `session.Session.run`.

        Raises:
            SessionError: the session is closed, or ONNX Runtime fails (its words are quoted).
        """
        check_inputs(self.contract, images, image_sizes)
        if self._session is None:
            raise SessionError(
                f"{self.contract.variant}: the session is closed; expected an open one. "
                "Open the artefact again."
            )
        try:
            arrays = self._session.run(
                self._output_names, {"images": images, "image_sizes": image_sizes}
            )
        except Exception as err:  # its errors share no base class
            raise SessionError(
                f"{self.contract.variant}: ONNX Runtime stopped ({_one_line(err)}). "
                "Try a smaller batch or canvas, or another provider."
            ) from err
        return dict(zip(self._output_names, arrays, strict=True))

    def end_profiling(self) -> Path:
        """Stop the profiler that `profile_prefix` started; returns the JSON it wrote."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Release the model's memory; a second call does nothing."""
        self._session = None


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as err:
        raise SessionError(
            "ONNX Runtime: not installed; .onnx files need it. "
            'pip install "maskrt[cpu]", or "maskrt[gpu]" for CUDA.'
        ) from err
    return onnxruntime


def _providers(runtime: Any, asked: Sequence[str] | None) -> list[str]:
    """The providers to try, all of them offered by this build of ONNX Runtime."""
    offered = runtime.get_available_providers()
    if asked is None:
        return [CUDA, CPU] if CUDA in offered else [CPU]
    missing = [name for name in asked if name not in offered]
    if missing or not asked:
        raise SessionError(
            f"ONNX Runtime: provider {', '.join(missing) or '(none named)'} is not in this build; "
            f'it offers {", ".join(offered)}. pip install "maskrt[gpu]" for CUDA.'
        )
    return list(asked)


def _options(runtime: Any, threads: int | None, profile_prefix: Path | None) -> Any:
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = _default_threads() if threads is None else threads
    options.log_severity_level = 3  # errors only: warnings about unused initializers help nobody
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    return options


def _load(runtime: Any, path: Path, providers: list[str], options: Any) -> Any:
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as err:  # its errors share no base class
        raise SessionError(
            f"{path}: ONNX Runtime could not load it ({_one_line(err)}); expected an ONNX file "
            "exported by maskrt. Export the checkpoint again."
        ) from err


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
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise SessionError(
            f"{where}: an ONNX file without a maskrt contract; expected one exported by maskrt. "
            "Run maskrt export on a checkpoint."
        )
    contract = contract_from_json(text, where)
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
