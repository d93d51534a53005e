"""Refusals run anywhere. The run loop itself runs in tests/engines/test_gpu.py, on a GPU.

Here it is driven through stand-ins of CUDA and TensorRT that keep "device" memory in host memory,
so that its order of calls, its checks and its releases are exercised where there is no GPU.
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime import cuda, trt_session
from maskrt.runtime.contract import Contract, ResizeRule, TensorSpec
from maskrt.runtime.cuda import DeviceInfo
from maskrt.runtime.errors import ContractError, InputError, SessionError
from maskrt.runtime.sidecar import Fingerprint, Sidecar, sidecar_path
from maskrt.runtime.trt_session import TrtSession

PLAN = b"a plan"
COMMAND = "maskrt build x.onnx -o x.engine --runtime tensorrt-rtx"
L4 = DeviceInfo("NVIDIA L4", "8.9", "13.0", 24 << 30)

CONTRACT = Contract(
    model="mask_rcnn",
    variant="tiny",
    task="instances",
    class_names=("thing",),
    canvas_hw=(4, 4),
    batch=1,
    resize=ResizeRule(4, 4),
    channel_order="RGB",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    inputs=(
        TensorSpec("images", (1, 4, 4, 3), "uint8"),
        TensorSpec("image_sizes", (1, 2), "int32"),
    ),
    outputs=(TensorSpec("doubled", (1, 2), "int32"),),
    precision="fp16",
    operators=(),
    checkpoint_sha256="0",
)
IMAGES = np.zeros((1, 4, 4, 3), np.uint8)
SIZES = np.array([[4, 3]], np.int32)


def fingerprint(**changes: Any) -> Fingerprint:
    values: dict[str, Any] = {
        "onnx_sha256": "0",
        "runtime": "tensorrt",
        "tensorrt_version": "11.4.0.106",
        "gpu_name": "NVIDIA L4",
        "compute_capability": "8.9",
        "options": {},
        "kernels_sha256": {},
        "engine_sha256": hashlib.sha256(PLAN).hexdigest(),
        "engine_bytes": len(PLAN),
        "build_seconds": 1.0,
    }
    return Fingerprint(**{**values, **changes})


def write_engine(folder: Path, **changes: Any) -> Path:
    path = folder / "x.engine"
    path.write_bytes(PLAN)
    sidecar = Sidecar(CONTRACT, fingerprint(**changes), {"command": COMMAND})
    sidecar_path(path).write_text(sidecar.to_json())
    return path


def test_missing_engine_and_other_suffixes_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        TrtSession(tmp_path / "x.engine")
    with pytest.raises(InputError, match=r"expected \.engine"):
        TrtSession(tmp_path / "x.plan")


def test_engine_without_sidecar_is_refused(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    sidecar_path(path).unlink()
    with pytest.raises(SessionError, match=r"x\.engine\.json: No such file.*maskrt build x\.onnx"):
        TrtSession(path)


def test_engine_beside_another_programs_json_is_refused(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    sidecar_path(path).write_text('{"layers": []}')
    with pytest.raises(SessionError, match="not a sidecar this maskrt reads"):
        TrtSession(path)


def test_engine_whose_bytes_changed_is_refused_with_the_exact_command(tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    path.write_bytes(PLAN + b"!")
    with pytest.raises(SessionError, match=f"not the engine its sidecar describes.*{COMMAND}"):
        TrtSession(path)


def test_engine_of_another_version_is_refused_with_the_exact_command(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install "maskrt[engines]"')
    path = write_engine(tmp_path, runtime="tensorrt-rtx", tensorrt_version="1.4.0.76")
    with pytest.raises(SessionError, match=f"built by tensorrt-rtx 1.4.0.76, but .*{COMMAND}"):
        TrtSession(path)


def test_engine_of_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    path = write_engine(tmp_path, runtime="tensorrt-9000")
    with pytest.raises(SessionError, match="runtime 'tensorrt-9000': unknown"):
        TrtSession(path)


@pytest.mark.skipif(cuda.missing_device() is None, reason="this machine has a GPU")
def test_machine_without_a_gpu_gets_one_sentence(tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install "maskrt[engines]"')
    path = write_engine(tmp_path, runtime="tensorrt-rtx", tensorrt_version=trt.__version__)
    with pytest.raises(SessionError, match=r"no NVIDIA GPU can be used here.*use the \.onnx file"):
        TrtSession(path)


class HostCuda:
    """cuda.bindings.runtime over host memory: copies run at once, `live` holds the unfreed."""

    cudaStreamNonBlocking, cudaHostAllocDefault = 1, 0
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}

    def _new(self, nbytes: int) -> tuple[int, int]:
        memory = ctypes.create_string_buffer(nbytes)
        address = ctypes.addressof(memory)
        self.live[address] = memory
        return 0, address

    def _drop(self, address: int) -> tuple[int]:
        del self.live[address]
        return (0,)

    def cudaMalloc(self, nbytes: int) -> tuple[int, int]:
        return self._new(nbytes)

    def cudaHostAlloc(self, nbytes: int, _: int) -> tuple[int, int]:
        return self._new(nbytes)

    def cudaStreamCreateWithFlags(self, _: int) -> tuple[int, int]:
        return self._new(1)

    def cudaMemcpyAsync(self, target: int, source: int, n: int, *_: Any) -> tuple[int]:
        ctypes.memmove(target, source, n)
        return (0,)

    def cudaStreamSynchronize(self, _: int) -> tuple[int]:
        return (0,)

    cudaFree = cudaFreeHost = cudaStreamDestroy = _drop


class Engine:
    """An engine and its context in one: `doubled` is twice `image_sizes`."""

    def __init__(self, contract: Contract = CONTRACT) -> None:
        self.specs = {s.name: s for s in (*contract.inputs, *contract.outputs)}
        self.num_io_tensors = len(self.specs)
        self.addresses: dict[str, int] = {}
        self.runs = True
        self.has_memory = True

    def get_tensor_name(self, index: int) -> str:
        return list(self.specs)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.specs[name].shape

    def get_tensor_dtype(self, name: str) -> Any:
        names = {"uint8": "UINT8", "int32": "INT32", "float32": "FLOAT"}
        return SimpleNamespace(name=names[self.specs[name].dtype])

    def create_execution_context(self) -> Any:
        return self if self.has_memory else None

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.specs

    def execute_async_v3(self, stream: int) -> bool:
        sizes = (ctypes.c_int32 * 2).from_address(self.addresses["image_sizes"])
        doubled = (ctypes.c_int32 * 2).from_address(self.addresses["doubled"])
        doubled[:] = [2 * x for x in sizes]
        return self.runs and stream != 0


class Logger:
    Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)


@pytest.fixture
def host_cuda(monkeypatch: pytest.MonkeyPatch) -> HostCuda:
    fake = HostCuda()
    monkeypatch.setattr(cuda, "load_cuda", lambda: fake)
    monkeypatch.setattr(cuda, "require_device", lambda *_: L4)
    return fake


@pytest.fixture
def use_engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(engine: Engine | None) -> None:
        runtime = SimpleNamespace(deserialize_cuda_engine=lambda _: engine)
        trt = SimpleNamespace(__version__="11.4.0.106", ILogger=Logger, Runtime=lambda _: runtime)
        logger = SimpleNamespace(clear=lambda: None, recent_errors=lambda: "its last error")
        monkeypatch.setattr(trt_session, "import_tensorrt", lambda _: trt)
        monkeypatch.setattr(trt_session, "tensorrt_logger", lambda _: logger)

    return use


def test_outputs_are_copied_and_stay_the_callers(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    use_engine(Engine())
    with TrtSession(write_engine(tmp_path)) as session:
        assert (session.backend, session.contract) == ("tensorrt", CONTRACT)
        first = session.run(IMAGES, SIZES)
        second = session.run(IMAGES, SIZES - 1)
        assert len(host_cuda.live) == 1 + 2 * 3  # a stream, and two memories per tensor
    assert first["doubled"].tolist() == [[8, 6]]
    assert second["doubled"].tolist() == [[6, 4]]
    assert host_cuda.live == {}


def test_closed_session_says_so_and_closes_twice(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    use_engine(Engine())
    session = TrtSession(write_engine(tmp_path))
    session.close()
    session.close()
    with pytest.raises(SessionError, match="the session is closed"):
        session.run(IMAGES, SIZES)


def test_wrong_arrays_are_contract_errors(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    use_engine(Engine())
    with TrtSession(write_engine(tmp_path)) as session:
        with pytest.raises(ContractError, match=r"'images' got \(1, 4, 4, 3\) float32"):
            session.run(IMAGES.astype(np.float32), SIZES)  # type: ignore[arg-type]
        with pytest.raises(ContractError, match=r"'image_sizes' got \(2,\)"):
            session.run(IMAGES, SIZES[0])


def test_run_that_tensorrt_refuses_is_an_error_with_its_words(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    engine = Engine()
    engine.runs = False
    use_engine(engine)
    with (
        TrtSession(write_engine(tmp_path)) as session,
        pytest.raises(SessionError, match=r"did not run \(its last error\)"),
    ):
        session.run(IMAGES, SIZES)


def test_refused_engine_is_an_error_with_the_exact_command(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    use_engine(None)
    with pytest.raises(SessionError, match=rf"refused the engine \(its last error\).*{COMMAND}"):
        TrtSession(write_engine(tmp_path))


def test_engine_for_another_gpu_is_refused(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    use_engine(Engine())
    path = write_engine(tmp_path, gpu_name="NVIDIA H200", compute_capability="9.0")
    with pytest.raises(SessionError, match=r"built for NVIDIA H200 .*9\.0.*this GPU is NVIDIA L4"):
        TrtSession(path)


def test_engine_that_differs_from_its_contract_is_refused(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    other = dataclasses.replace(CONTRACT, outputs=(TensorSpec("doubled", (1, 2), "float32"),))
    use_engine(Engine(other))
    with pytest.raises(SessionError, match="not those of its contract"):
        TrtSession(write_engine(tmp_path))
    assert host_cuda.live == {}


def test_too_little_memory_releases_what_was_taken(
    tmp_path: Path, host_cuda: HostCuda, use_engine: Any
) -> None:
    engine = Engine()
    engine.has_memory = False
    use_engine(engine)
    with pytest.raises(SessionError, match="no execution context"):
        TrtSession(write_engine(tmp_path))
    assert host_cuda.live == {}
