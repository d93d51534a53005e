"""Stand-ins of CUDA, TensorRT and PyCUDA that keep "device" memory in host memory.

So a session's order of calls, its checks and its releases are exercised where there is no GPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.contract import Contract, ResizeRule, TensorSpec
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.cuda import DeviceBuffer, DeviceInfo
from maskrt.runtime.gpu.device_array import DeviceArray
from maskrt.runtime.sessions.trt import context as trt_context
from maskrt.runtime.sessions.trt import engine as trt_engine
from maskrt.runtime.sessions.trt import weights as trt_weights
from maskrt.runtime.sidecar import Fingerprint, Sidecar, sidecar_path

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


@pytest.fixture
def write_engine(tmp_path: Path) -> Callable[..., Path]:
    """Writes an engine and its sidecar, whose fingerprint takes changes by keyword."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "x.engine"
        path.write_bytes(PLAN)
        sidecar = Sidecar(CONTRACT, fingerprint(**changes), {"command": COMMAND})
        sidecar_path(path).write_text(sidecar.to_json())
        return path

    return write


class Code(int):
    """An error code with the name that cuda-python gives it."""

    @property
    def name(self) -> str:
        return {2: "cudaErrorMemoryAllocation", 901: "cudaErrorStreamCaptureInvalidated"}[self]


class HostCuda:
    """cuda.bindings.runtime over host memory: work is done when queued, unless being recorded."""

    cudaStreamNonBlocking, cudaHostAllocDefault, cudaEventDisableTiming = 1, 0, 2
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}
        """What was not released: address -> memory, stream, graph or event."""
        self.made_on: dict[int, int] = {}
        """The GPU of each."""
        self.log: list[str] = []
        self.waits: list[tuple[int, int]] = []
        """(stream that waits, stream it waits for)."""
        self.fails_at: int | None = None
        """How many more allocations succeed."""
        self.captures = True
        self._recording: dict[int, list[Callable[[], None]]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._events: dict[int, int] = {}
        self._thread = threading.local()

    def new(self, nbytes: int) -> int:
        memory = ctypes.create_string_buffer(nbytes + 256)
        address = -(-ctypes.addressof(memory) // 256) * 256  # aligned, as CUDA's is
        self.live[address], self.made_on[address] = memory, self.cudaGetDevice()[1]
        return address

    def drop(self, address: int) -> tuple[int]:
        assert self.made_on[address] == self.cudaGetDevice()[1], "given up on another GPU"
        del self.live[address]
        return (0,)

    def read(self, array: DeviceArray) -> np.ndarray:
        """A view of "device" memory."""
        return on_host(array.pointer, array.shape, array.dtype)

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        if stream in self._recording:
            self._recording[stream].append(work)
        else:
            work()

    def is_recording(self, stream: int) -> bool:
        return stream in self._recording

    def _allocate(self, nbytes: int) -> tuple[int, int | None]:
        if self.fails_at is not None:
            self.fails_at -= 1
            if self.fails_at < 0:
                return Code(2), None
        return 0, self.new(nbytes)

    def cudaGetErrorString(self, code: int) -> tuple[int, bytes]:
        return 0, b"its sentence"

    def cudaGetLastError(self) -> tuple[int]:
        self.log.append("clear error")
        return (0,)

    def cudaGetDevice(self) -> tuple[int, int]:
        return 0, getattr(self._thread, "device", 0)

    def cudaSetDevice(self, index: int) -> tuple[int]:
        self._thread.device = index
        return (0,)

    def cudaMalloc(self, nbytes: int) -> tuple[int, int | None]:
        return self._allocate(nbytes)

    def cudaHostAlloc(self, nbytes: int, _: int) -> tuple[int, int | None]:
        return self._allocate(nbytes)

    def cudaStreamCreateWithFlags(self, _: int) -> tuple[int, int]:
        return 0, self.new(1)

    def cudaMemcpyAsync(self, target: int, source: int, n: int, _: int, stream: int) -> tuple[int]:
        def copy() -> None:
            self.log.append("copy")
            ctypes.memmove(target, source, n)

        self.queue(stream, copy)
        return (0,)

    def cudaStreamSynchronize(self, _: int) -> tuple[int]:
        self.log.append("synchronize")
        return (0,)

    def cudaEventCreateWithFlags(self, _: int) -> tuple[int, int]:
        return 0, self.new(1)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:
        self._events[event] = stream
        return (0,)

    def cudaStreamWaitEvent(self, stream: int, event: int, _: int) -> tuple[int]:
        self.waits.append((stream, self._events[event]))
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, _: int) -> tuple[int]:
        self.log.append("record")
        self._recording[stream] = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, int | None]:
        work = self._recording.pop(stream)
        if not self.captures:
            return Code(901), None
        graph = self.new(1)
        self._graphs[graph] = work
        return 0, graph

    def cudaGraphInstantiate(self, graph: int, _: int) -> tuple[int, int]:
        executable = self.new(1)
        self._graphs[executable] = self._graphs[graph]
        return 0, executable

    def cudaGraphLaunch(self, executable: int, _: int) -> tuple[int]:
        self.log.append("launch")
        for work in self._graphs[executable]:
            work()
        return (0,)

    cudaFree = cudaFreeHost = cudaStreamDestroy = cudaEventDestroy = drop
    cudaGraphDestroy = cudaGraphExecDestroy = drop


class Engine:
    """`doubled` is twice `image_sizes`."""

    device_memory_size_v2 = 1000

    def __init__(self, host: HostCuda, contract: Contract = CONTRACT) -> None:
        self.host = host
        self.specs = {s.name: s for s in (*contract.inputs, *contract.outputs)}
        self.num_io_tensors = len(self.specs)
        self.runs = True
        self.records = True
        self.has_memory = True
        self.configs: list[Any] = []
        self.while_running: Callable[[], object] = lambda: None

    def get_tensor_name(self, index: int) -> str:
        return list(self.specs)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.specs[name].shape

    def get_tensor_dtype(self, name: str) -> Any:
        names = {"uint8": "UINT8", "int32": "INT32", "float32": "FLOAT"}
        return SimpleNamespace(name=names[self.specs[name].dtype])

    def create_execution_context(self, *config: Any) -> Any:
        self.configs += config
        return ExecutionContext(self) if self.has_memory else None


class ExecutionContext:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.specs and address % 256 == 0

    def execute_async_v3(self, stream: int) -> bool:
        engine, host = self.engine, self.engine.host
        if not engine.runs or (host.is_recording(stream) and not engine.records):
            return False
        source, target = self.addresses["image_sizes"], self.addresses["doubled"]

        def double() -> None:
            host.log.append("engine")
            engine.while_running()
            sizes = (ctypes.c_int32 * 2).from_address(source)
            (ctypes.c_int32 * 2).from_address(target)[:] = [2 * x for x in sizes]

        host.queue(stream, double)
        return True


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
    def use(engine: Engine | None, **more: Any) -> None:
        runtime = SimpleNamespace(deserialize_cuda_engine=lambda _: engine)
        values = {"__version__": "11.4.0.106", "ILogger": Logger, "Runtime": lambda _: runtime}
        trt = SimpleNamespace(**{**values, **more})
        logger = SimpleNamespace(clear=lambda: None, recent_errors=lambda: "its last error")
        monkeypatch.setattr(trt_engine, "import_runtime", lambda _: trt)
        for module in (trt_engine, trt_context, trt_weights):
            monkeypatch.setattr(module, "tensorrt_logger", lambda _: logger)

    return use


@pytest.fixture
def engine(host_cuda: HostCuda, use_engine: Any) -> Engine:
    made = Engine(host_cuda)
    use_engine(made)
    return made


class DeviceAllocation:
    """As `pycuda.driver.mem_alloc` gives: freed with its last reference."""

    def __init__(self, host: HostCuda, nbytes: int) -> None:
        self._host, self._address = host, host.new(nbytes)

    def __int__(self) -> int:
        return self._address

    def __del__(self) -> None:
        self._host.drop(self._address)


class GPUArray:
    """As `pycuda.gpuarray.GPUArray`: it says that no stream is pending."""

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, gpudata: Any = None, base: Any = None
    ) -> None:
        self.shape, self.dtype, self.gpudata, self.base = shape, np.dtype(dtype), gpudata, base

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = np.empty(self.shape, self.dtype).strides
        return {
            "shape": self.shape,
            "strides": strides,
            "data": (int(self.gpudata), False),
            "typestr": self.dtype.str,
            "stream": None,
            "version": 3,
        }

    def get(self) -> np.ndarray:
        return on_host(int(self.gpudata), self.shape, self.dtype)


def on_host(pointer: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_uint8 * nbytes).from_address(pointer)
    return np.frombuffer(memory, dtype).reshape(shape)


@dataclass
class Way:
    """How a caller gives the session a stream, memory and arrays."""

    options: dict[str, Any]
    to_gpu: Callable[[np.ndarray], Any]
    owns_stream: bool


@pytest.fixture(params=["cuda-python", "pycuda"])
def way(request: pytest.FixtureRequest, host_cuda: HostCuda) -> Iterator[Way]:
    def device_array(array: np.ndarray) -> DeviceArray:
        buffer = DeviceBuffer(array.nbytes)
        on_host(buffer.pointer, array.shape, array.dtype)[...] = array
        return DeviceArray(buffer.pointer, array.shape, array.dtype, owner=buffer)

    def gpu_array(array: np.ndarray) -> GPUArray:
        memory = DeviceAllocation(host_cuda, array.nbytes)
        on_host(int(memory), array.shape, array.dtype)[...] = array
        return GPUArray(array.shape, array.dtype, gpudata=memory)

    if request.param == "cuda-python":
        yield Way({}, device_array, True)
        return
    stream = SimpleNamespace(handle=host_cuda.new(1))

    def mem_alloc(nbytes: int) -> DeviceAllocation:
        return DeviceAllocation(host_cuda, nbytes)

    yield Way({"stream": stream, "allocator": mem_alloc}, gpu_array, False)
    host_cuda.drop(stream.handle)


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyCUDA is installed, as far as `GPUArray`."""
    gpuarray = ModuleType("pycuda.gpuarray")
    gpuarray.GPUArray = GPUArray  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.gpuarray", gpuarray)


class RtxCache:
    """TensorRT-RTX's runtime cache: what it was given, and what it compiled since."""

    def __init__(self, engine: RtxEngine) -> None:
        self.engine = engine

    def deserialize(self, data: bytes) -> bool:
        self.engine.read.append(data)
        return data.startswith(b"kernels")

    def serialize(self) -> bytes:
        return b"kernels\n of this GPU"


class RtxEngine(Engine):
    """Of TensorRT-RTX: its contexts take a configuration."""

    def __init__(self, host: HostCuda) -> None:
        super().__init__(host)
        self.read: list[bytes] = []

    def create_runtime_config(self) -> Any:
        config = SimpleNamespace(cuda_graph_strategy=None, cache=None)
        config.create_runtime_cache = lambda: RtxCache(self)
        config.set_runtime_cache = lambda cache: setattr(config, "cache", cache)
        return config


RTX_VERSION = "1.7.1.21"
STRATEGIES = SimpleNamespace(DISABLED="disabled", WHOLE_GRAPH_CAPTURE="whole graph")


@pytest.fixture
def rtx_engine(host_cuda: HostCuda, use_engine: Any) -> RtxEngine:
    made = RtxEngine(host_cuda)
    use_engine(made, __version__=RTX_VERSION, CudaGraphStrategy=STRATEGIES)
    return made
