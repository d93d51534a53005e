"""TensorRT and TensorRT-RTX engines as a `Session`: check, deserialize, run.

Every promise of the sidecar is checked before a byte reaches TensorRT, because an engine of another
version or file fails there without a reason. Shapes are fixed per artefact, so buffers are made and
their addresses bound once.
Source: TensorRT 8.6 to 11 and TensorRT-RTX 1.7 Python API (`execute_async_v3`, named tensors).
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from . import cuda
from .contract import TensorSpec
from .errors import SessionError
from .files import require_file
from .session import OnDevice, Outputs, check_inputs
from .sidecar import Sidecar, read_sidecar
from .tensorrt_module import has_plugins, import_tensorrt, numpy_name, tensorrt_logger


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialized engine with what keeps it alive."""

    path: Path
    sidecar: Sidecar
    trt: Any
    runtime: Any
    engine: Any


def load_engine(engine_path: Path, device: int = 0) -> LoadedEngine:
    """Check an engine against its sidecar and deserialize it on GPU `device`.

    Raises:
        InputError: no such file, or not an `.engine`.
        SessionError: sidecar missing or foreign, or not of these bytes; built by another TensorRT
            or for another GPU; TensorRT, a GPU or the operators' plugins missing here; refused by
            TensorRT.
    """
    require_file(engine_path, "an engine", (".engine",))
    sidecar = read_sidecar(engine_path)
    data = engine_path.read_bytes()
    _require_same_bytes(engine_path, data, sidecar)
    trt = import_tensorrt(sidecar.fingerprint.runtime)
    _require_same_version(engine_path, sidecar, trt.__version__)
    info = cuda.require_device(str(engine_path), device)
    _require_same_gpu(engine_path, sidecar, info)
    _require_plugins(engine_path, sidecar, trt)
    return _deserialize(engine_path, data, sidecar, trt)


def _require_same_bytes(path: Path, data: bytes, sidecar: Sidecar) -> None:
    found = hashlib.sha256(data).hexdigest()
    expected = sidecar.fingerprint.engine_sha256
    if found != expected:
        raise SessionError(
            f"{path}: SHA-256 {found[:12]} is not the engine its sidecar describes "
            f"({expected[:12]}). Build it again: {sidecar.rebuild_command(path)}"
        )


def _require_same_version(path: Path, sidecar: Sidecar, found: str) -> None:
    built = sidecar.fingerprint.tensorrt_version
    if built.split(".")[:3] != found.split(".")[:3]:
        raise SessionError(
            f"{path}: built by {sidecar.fingerprint.runtime} {built}, but {found} is installed; an "
            f"engine runs on the version that built it. "
            f"Build it again: {sidecar.rebuild_command(path)}"
        )


def _require_same_gpu(path: Path, sidecar: Sidecar, info: cuda.DeviceInfo) -> None:
    built = sidecar.fingerprint
    portable = built.runtime == "tensorrt-rtx"  # compiled for each GPU when it is loaded
    if portable or built.compute_capability in (None, info.compute_capability):
        return
    raise SessionError(
        f"{path}: built for {built.gpu_name} (compute capability {built.compute_capability}), "
        f"but this GPU is {info.name} ({info.compute_capability}). "
        f"Build it again here: {sidecar.rebuild_command(path)}"
    )


def calls_plugins(sidecar: Sidecar) -> bool:
    """Whether an engine opens only where its operators' plugins are registered.

    Those of TensorRT-RTX are Python objects of the process; TensorRT's are inside the engine.
    """
    built = sidecar.fingerprint
    return built.runtime == "tensorrt-rtx" and built.options.get("operators") == "plugin"


def _require_plugins(path: Path, sidecar: Sidecar, trt: Any) -> None:
    operators = sidecar.contract.operators
    if calls_plugins(sidecar) and not has_plugins(trt, operators):
        raise SessionError(
            f"{path}: it calls plugins for {' and '.join(operators)}, which are not in the engine "
            "and not registered in this process; expected them before it is opened. "
            "Open it with maskrt.load."
        )


def _deserialize(path: Path, data: bytes, sidecar: Sidecar, trt: Any) -> LoadedEngine:
    logger = tensorrt_logger(trt)
    logger.clear()
    try:
        runtime = trt.Runtime(logger)
    except TypeError as err:  # the binding's word for "no GPU answered"
        raise SessionError(
            f"{path}: TensorRT could not start on this GPU ({logger.recent_errors()}). "
            "Run 'maskrt doctor' to see what is missing."
        ) from err
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise SessionError(
            f"{path}: TensorRT refused the engine ({logger.recent_errors()}). "
            f"Build it again on this machine: {sidecar.rebuild_command(path)}"
        )
    return LoadedEngine(path, sidecar, trt, runtime, engine)


class TrtSession:
    """An engine ready to run: one stream, buffers and addresses made once. One thread at a time."""

    def __init__(self, engine_path: Path, device: int = 0) -> None:
        """Load `engine_path` on GPU `device`; errors as `load_engine`."""
        self._path = engine_path
        self._loaded: LoadedEngine | None = load_engine(engine_path, device)
        self.contract = self._loaded.sidecar.contract
        self.backend = self._loaded.sidecar.fingerprint.runtime
        self.device: OnDevice | None = None
        self._command = self._loaded.sidecar.rebuild_command(engine_path)
        self._resources = contextlib.ExitStack()
        self._device: dict[str, cuda.DeviceBuffer] = {}
        self._host: dict[str, cuda.PinnedArray] = {}
        try:
            self._open(self._loaded)
        except BaseException:
            self.close()
            raise

    def _open(self, loaded: LoadedEngine) -> None:
        specs = (*self.contract.inputs, *self.contract.outputs)
        _require_contract_tensors(loaded, specs)
        self._stream = cuda.Stream()
        self._resources.callback(self._stream.close)
        self._context: Any = loaded.engine.create_execution_context()
        if self._context is None:
            reason = tensorrt_logger(loaded.trt).recent_errors()
            raise SessionError(
                f"{self._path}: no execution context ({reason}); expected enough free GPU memory. "
                "Free some and load it again."
            )
        for spec in specs:
            self._allocate(spec)

    def _allocate(self, spec: TensorSpec) -> None:
        host = cuda.PinnedArray(spec.shape, spec.dtype)
        self._resources.callback(host.close)
        device = cuda.DeviceBuffer(host.array.nbytes)
        self._resources.callback(device.close)
        self._host[spec.name], self._device[spec.name] = host, device
        if not self._context.set_tensor_address(spec.name, device.pointer):
            raise SessionError(
                f"{self._path}: TensorRT refused the address of '{spec.name}'; expected a tensor "
                f"of the engine. Build it again: {self._command}"
            )

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch; see `Session.run`.

        Raises:
            ContractError: wrong shape or dtype.
            SessionError: closed, or TensorRT or CUDA failed.
        """
        if self._loaded is None:
            raise SessionError(f"{self._path}: the session is closed. Open the engine again.")
        check_inputs(self.contract, images, image_sizes)
        self._upload("images", images)
        self._upload("image_sizes", image_sizes)
        self._execute(self._loaded.trt)
        return {spec.name: self._host[spec.name].array.copy() for spec in self.contract.outputs}

    def _upload(self, name: str, array: npt.NDArray[Any]) -> None:
        host = self._host[name].array
        np.copyto(host, array)
        cuda.copy_to_device(self._device[name], host, self._stream)

    def _execute(self, trt: Any) -> None:
        logger = tensorrt_logger(trt)
        logger.clear()
        if not self._context.execute_async_v3(self._stream.handle):
            raise SessionError(
                f"{self._path}: the engine did not run ({logger.recent_errors()}). "
                "Free GPU memory, or build the engine again on this machine."
            )
        for spec in self.contract.outputs:
            cuda.copy_to_host(self._host[spec.name].array, self._device[spec.name], self._stream)
        self._stream.synchronize()

    def close(self) -> None:
        """Release the engine, its GPU memory and the stream; may be called twice."""
        self._context = None
        self._loaded = None
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _require_contract_tensors(loaded: LoadedEngine, specs: tuple[TensorSpec, ...]) -> None:
    engine = loaded.engine
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
