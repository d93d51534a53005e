from __future__ import annotations

import contextlib
import subprocess
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.graph import Graph

USED_NAMES = [
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaDriverGetVersion",
    "cudaGetDevice",
    "cudaSetDevice",
    "cudaEventCreateWithFlags",
    "cudaEventDisableTiming",
    "cudaEventRecord",
    "cudaEventSynchronize",
    "cudaStreamWaitEvent",
    "cudaEventDestroy",
    "cudaGetErrorString",
    "cudaGetLastError",
    "cudaStreamCreateWithFlags",
    "cudaStreamNonBlocking",
    "cudaStreamSynchronize",
    "cudaStreamDestroy",
    "cudaMalloc",
    "cudaFree",
    "cudaHostAlloc",
    "cudaHostAllocDefault",
    "cudaFreeHost",
    "cudaMemcpyAsync",
    "cudaMemcpyKind",
    "cudaStreamBeginCapture",
    "cudaStreamEndCapture",
    "cudaStreamCaptureMode",
    "cudaGraphInstantiate",
    "cudaGraphDestroy",
    "cudaGraphLaunch",
    "cudaGraphExecDestroy",
]

needs_gpu = pytest.mark.skipif(
    cuda.missing_device() is not None, reason=f"no GPU here: {cuda.missing_device()}"
)


def test_import_needs_no_cuda_package() -> None:
    code = "import sys; sys.modules['cuda'] = None; import maskrt.runtime.gpu.cuda as c; "
    code += "assert c.device_info() is None; assert 'cuda-python' in c.missing_device()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_package_gives_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SessionError, match=r'pip install "\.\[gpu\]"'):
        cuda.load_cuda()
    with pytest.raises(
        SessionError, match=r"x\.engine: no NVIDIA GPU.*cuda-python.*use the \.onnx"
    ):
        cuda.require_device("x.engine")


def test_names_used_exist_in_the_bindings() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    assert [name for name in USED_NAMES if not hasattr(runtime, name)] == []


class Error(int):
    """A CUDA error code with the name cuda-python gives it."""

    name = "cudaErrorMemoryAllocation"


def test_failed_call_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(cudaGetErrorString=lambda _: (Error(0), b"out of memory"))
    monkeypatch.setattr(cuda, "load_cuda", lambda: fake)
    with pytest.raises(SessionError, match="CUDA: cudaErrorMemoryAllocation: out of memory"):
        cuda.check((Error(2), None))


@pytest.mark.parametrize(
    ("answer", "value"), [((0,), None), ((0, 7), 7), ((0, 7, 8), (7, 8))], ids=["0", "1", "2"]
)
def test_answers_are_unpacked(answer: tuple[int, ...], value: Any) -> None:
    assert cuda.check(tuple(Error(x) if i == 0 else x for i, x in enumerate(answer))) == value


def test_driver_that_is_missing_altogether_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(cuda, "load_cuda", lambda: SimpleNamespace(cudaGetDeviceCount=no_driver))
    assert cuda.missing_device() == "Failed to dlopen libcuda.so.1"
    with pytest.raises(SessionError, match=r"Run it on a machine with an NVIDIA GPU"):
        cuda.require_device("x.engine")


class CudaStream:
    """As cuda.core and recent torch have it."""

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, 96)


@pytest.mark.parametrize(
    "stream",
    [
        96,
        np.int64(96),
        SimpleNamespace(handle=96),
        SimpleNamespace(cuda_stream=96),
        SimpleNamespace(ptr=96),
        CudaStream(),
    ],
    ids=["int", "numpy", "pycuda", "torch", "cupy", "protocol"],
)
def test_streams_of_others_are_taken_and_never_destroyed(
    monkeypatch: pytest.MonkeyPatch, stream: object
) -> None:
    monkeypatch.setattr(cuda, "load_cuda", SimpleNamespace)  # no call of CUDA's is there to make
    taken = cuda.Stream(stream)
    assert (taken.handle, taken.is_callers) == (96, True)
    taken.close()
    taken.close()


@pytest.mark.parametrize("stream", [0, 1, SimpleNamespace(handle=0)])
def test_the_default_stream_is_refused(stream: object) -> None:
    with pytest.raises(InputError, match="the default stream found; expected a stream of its own"):
        cuda.stream_handle(stream)


def test_what_is_no_stream_is_refused() -> None:
    with pytest.raises(InputError, match="stream: dict found; expected an int"):
        cuda.stream_handle({})


class EventCuda:
    """Events alone; `log` says what was asked in which order."""

    cudaEventDisableTiming = 2

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.log.append((name, *arguments))
            return (0, 5) if name == "cudaEventCreateWithFlags" else (0,)

        return call

    def cudaGetDevice(self) -> tuple[int, int]:
        return 0, 1


def test_one_stream_waits_for_another_by_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = EventCuda()
    monkeypatch.setattr(cuda, "load_cuda", lambda: fake)
    cuda.wait_for(7, 7, 1)
    assert fake.log == []  # a stream is in order with itself
    cuda.wait_for(7, 9, 1)
    assert fake.log == [
        ("cudaEventCreateWithFlags", 2),
        ("cudaEventRecord", 5, 9),
        ("cudaStreamWaitEvent", 7, 5, 0),
        ("cudaEventDestroy", 5),
    ]


def test_the_threads_gpu_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    current = [3]
    fake = SimpleNamespace(
        cudaGetDevice=lambda: (0, current[-1]),
        cudaSetDevice=lambda index: (current.append(index) or 0,),
    )
    monkeypatch.setattr(cuda, "load_cuda", lambda: fake)
    with cuda.using_device(3):
        assert current == [3]  # nothing to change
    with contextlib.suppress(KeyError), cuda.using_device(1):
        assert current == [3, 1]
        raise KeyError
    assert current == [3, 1, 3]


def test_describing_a_gpu_does_not_make_it_current(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = SimpleNamespace(name=b"NVIDIA L4\0", major=8, minor=9, totalGlobalMem=24 << 30)
    asked: list[int] = []
    fake = SimpleNamespace(  # and no `cudaSetDevice`
        cudaGetDeviceCount=lambda: (0, 2),
        cudaGetDeviceProperties=lambda index: (asked.append(index) or 0, facts),
        cudaDriverGetVersion=lambda: (0, 13000),
    )
    monkeypatch.setattr(cuda, "load_cuda", lambda: fake)
    assert cuda.require_device("x.engine", 1).name == "NVIDIA L4"
    assert asked == [1]


def test_what_is_closed_is_closed_on_its_gpu_or_where_cuda_no_longer_answers_anyhow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current, closed = [0], []
    fake = SimpleNamespace(
        cudaGetDevice=lambda: (0, current[-1]),
        cudaSetDevice=lambda index: (current.append(index) or 0,),
        cudaGetErrorString=lambda _: (Error(0), b"the GPU is lost"),
    )
    monkeypatch.setattr(cuda, "load_cuda", lambda: fake)
    with contextlib.ExitStack() as resources:
        resources.callback(lambda: closed.append(current[-1]))
        cuda.close_on(1, resources)
    assert (closed, current) == ([1], [0, 1, 0])
    fake.cudaGetDevice = lambda: (Error(2), None)
    with contextlib.ExitStack() as resources:
        resources.callback(lambda: closed.append(-1))
        with pytest.raises(SessionError, match="the GPU is lost"):
            cuda.close_on(1, resources)
    assert closed == [1, -1]


def test_an_allocation_of_the_callers_is_let_go_not_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Allocation:
        def __init__(self, nbytes: int) -> None:
            self.nbytes = nbytes

        def __int__(self) -> int:
            return 512

    made: list[weakref.ref[Allocation]] = []

    def allocate(nbytes: int) -> Allocation:
        allocation = Allocation(nbytes)
        made.append(weakref.ref(allocation))
        return allocation

    monkeypatch.setattr(cuda, "load_cuda", SimpleNamespace)  # `cudaFree` would not be found
    buffer = cuda.DeviceBuffer(0, allocate)
    held = made[0]()
    assert held is not None
    assert (buffer.pointer, buffer.nbytes, held.nbytes) == (512, 0, 1)  # TensorRT takes no null
    del held
    buffer.close()
    buffer.close()
    assert made[0]() is None


@pytest.mark.gpu
@needs_gpu
def test_bytes_survive_the_way_to_the_gpu_and_back() -> None:
    info = cuda.require_device("test")
    assert info.name
    stream, source = cuda.Stream(), cuda.PinnedArray((3, 5), np.float32)
    device, target = cuda.DeviceBuffer(60), cuda.PinnedArray((3, 5), np.float32)
    source.array[:] = np.arange(15).reshape(3, 5)
    cuda.copy_to_device(device, source.array, stream)
    cuda.copy_to_host(target.array, device, stream)
    stream.synchronize()
    np.testing.assert_array_equal(target.array, source.array)
    for owner in (target, source, device, stream):
        owner.close()
        owner.close()


@pytest.mark.gpu
@needs_gpu
def test_captured_copies_run_again_with_new_bytes() -> None:
    cuda.require_device("test")
    stream, source = cuda.Stream(), cuda.PinnedArray((4,), np.int32)
    device, target = cuda.DeviceBuffer(16), cuda.PinnedArray((4,), np.int32)

    def round_trip() -> None:
        cuda.copy_to_device(device, source.array, stream)
        cuda.copy_to_host(target.array, device, stream)

    graph = Graph(stream, round_trip)
    for value in (3, 4):
        source.array[:] = value
        graph.launch(stream)
        stream.synchronize()
        assert target.array.tolist() == [value] * 4
    for owner in (graph, target, source, device, stream):
        owner.close()
