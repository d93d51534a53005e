from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime import cuda
from maskrt.runtime.errors import SessionError

USED_NAMES = [
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaDriverGetVersion",
    "cudaSetDevice",
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
    code = "import sys; sys.modules['cuda'] = None; import maskrt.runtime.cuda as c; "
    code += "assert c.device_info() is None; assert 'cuda-python' in c.missing_device()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_package_gives_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SessionError, match=r'pip install "maskrt\[gpu\]"'):
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

    graph = cuda.Graph(stream, round_trip)
    for value in (3, 4):
        source.array[:] = value
        graph.launch(stream)
        stream.synchronize()
        assert target.array.tolist() == [value] * 4
    for owner in (graph, target, source, device, stream):
        owner.close()
