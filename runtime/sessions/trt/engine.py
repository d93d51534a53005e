"""Open an engine file: check every promise of its sidecar, then deserialize it.

All is checked before a byte reaches TensorRT, because an engine of another version or file fails
there without a reason. `fit.py` knows where it runs, `weights.py` what it was built without;
`session.py` runs what is opened here; `maskrt inspect` reads it.
Source: TensorRT 8.6 to 11 and TensorRT-RTX 1.7 Python API.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...contract import TensorSpec
from ...errors import SessionError
from ...files import require_file
from ...gpu import cuda
from ...sidecar import Sidecar, read_sidecar
from .fit import require_gpu, require_version
from .tensorrt_module import import_runtime, numpy_name, tensorrt_logger
from .weights import restore_weights


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialized engine with what keeps it alive."""

    path: Path
    sidecar: Sidecar
    gpu: cuda.DeviceInfo
    trt: Any
    runtime: Any
    engine: Any


def load_engine(engine_path: Path, device: int = 0) -> LoadedEngine:
    """Check an engine against its sidecar and deserialize it on GPU `device`.

    Raises:
        InputError: no such file, or not an `.engine`.
        SessionError: sidecar missing or foreign, or not of these bytes; built by a TensorRT or for
            a GPU that this machine's do not fit; TensorRT, a GPU or the engine's weights missing
            here; refused by TensorRT.
    """
    require_file(engine_path, "an engine", (".engine",))
    sidecar = read_sidecar(engine_path)
    data = engine_path.read_bytes()
    _require_same_bytes(engine_path, data, sidecar)
    trt = import_runtime(sidecar.fingerprint.runtime)
    require_version(engine_path, sidecar, trt)
    info = cuda.require_device(str(engine_path), device)
    require_gpu(engine_path, sidecar, info)
    with cuda.using_device(device):
        runtime, engine = deserialize(engine_path, data, sidecar, trt)
        restore_weights(engine_path, sidecar, trt, engine)
    return LoadedEngine(engine_path, sidecar, info, trt, runtime, engine)


def _require_same_bytes(path: Path, data: bytes, sidecar: Sidecar) -> None:
    found = hashlib.sha256(data).hexdigest()
    expected = sidecar.fingerprint.engine_sha256
    if found != expected:
        raise SessionError(
            f"{path}: SHA-256 {found[:12]} is not the engine its sidecar describes "
            f"({expected[:12]}). Build it again: {sidecar.rebuild_command(path)}"
        )


def deserialize(path: Path, data: bytes, sidecar: Sidecar, trt: Any) -> tuple[Any, Any]:
    """TensorRT's runtime and the engine, which needs it alive, on the current GPU.

    Nothing is checked before.

    Args:
        path: the engine's file, for errors.
        data: its bytes.
        sidecar: what goes beside it.
        trt: the TensorRT module that built it.

    Raises:
        SessionError: TensorRT does not start on this GPU, or refuses the engine.
    """
    logger = tensorrt_logger(trt)
    logger.clear()
    try:
        runtime = trt.Runtime(logger)
    except TypeError as err:  # the binding's word for "no GPU answered"
        raise SessionError(
            f"{path}: TensorRT could not start on this GPU ({logger.recent_errors()}). "
            "Run 'maskrt doctor' to see what is missing."
        ) from err
    if sidecar.fingerprint.version_compatible:
        # Such an engine holds the lean runtime that runs it, as code of the host.
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise SessionError(
            f"{path}: TensorRT refused the engine ({logger.recent_errors()}). "
            f"Build it again on this machine: {sidecar.rebuild_command(path)}"
        )
    return runtime, engine


def require_contract_tensors(loaded: LoadedEngine) -> None:
    """Check that the engine's inputs and outputs are its contract's.

    Raises:
        SessionError: a name, shape or type differs.
    """
    contract, engine = loaded.sidecar.contract, loaded.engine
    specs = (*contract.inputs, *contract.outputs)
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    found = {
        TensorSpec(n, tuple(engine.get_tensor_shape(n)), numpy_name(engine.get_tensor_dtype(n)))
        for n in names
    }
    if found != set(specs):
        raise SessionError(
            f"{loaded.path}: the engine's tensors {sorted(names)} are not those of its contract "
            f"{sorted(s.name for s in specs)} in name, shape or type. "
            f"Build it again: {loaded.sidecar.rebuild_command(loaded.path)}"
        )


def execution_context(loaded: LoadedEngine, config: Any = None) -> Any:
    """A context of the engine; `config` is TensorRT-RTX's, of `RuntimeCache.config`.

    Raises:
        SessionError: too little GPU memory.
    """
    context = loaded.engine.create_execution_context(*(() if config is None else (config,)))
    if context is None:
        reason = tensorrt_logger(loaded.trt).recent_errors()
        raise SessionError(
            f"{loaded.path}: no execution context ({reason}); expected enough free GPU memory. "
            "Free some and load it again."
        )
    return context


def working_memory_bytes(engine: Any) -> int:
    """What TensorRT takes for one execution context; 0 where it does not tell."""
    for name in ("device_memory_size_v2", "device_memory_size"):
        if hasattr(engine, name):
            return int(getattr(engine, name))
    return 0
