"""CUDA streams, memory and graphs: the few calls a session needs, each one checked.

A thin layer over cuda-python (`cuda.bindings.runtime`), whose calls all answer a tuple that
starts with an error code. Importable without CUDA: the bindings load on first use. Pointers are
plain ints, as TensorRT takes them. Owners of CUDA resources have `close()`, to be called any number
of times.
Source: CUDA Runtime API 12.8 to 13.x, stream, memory and graph management.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import SessionError

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True)
class DeviceInfo:
    """One GPU and its driver."""

    name: str
    compute_capability: str
    """Major and minor, as "8.9"."""
    driver_cuda: str
    """Newest CUDA version the driver supports, as "13.0"."""
    memory_bytes: int


def load_cuda() -> Any:
    """The module `cuda.bindings.runtime`.

    Raises:
        SessionError: cuda-python is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as err:
        raise SessionError(
            f"CUDA: the cuda-python package is not usable ({err}); expected it for GPU memory and "
            'streams. Run: pip install "maskrt[gpu]"'
        ) from err
    return runtime


def check(result: tuple[Any, ...]) -> Any:
    """Unpack a cuda-python answer `(error, value...)`: the value, a tuple of them, or None.

    Raises:
        SessionError: the error code is not success; quotes CUDA's name and sentence for it.
    """
    error, *values = result
    if int(error) != 0:
        text = load_cuda().cudaGetErrorString(error)[1].decode()
        raise SessionError(
            f"CUDA: {error.name}: {text}; expected success. Free GPU memory or restart the "
            "process; run 'maskrt doctor' to see what this machine offers."
        )
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def missing_device() -> str | None:
    """Why no GPU can be used here, as a clause; None when one can."""
    try:
        rt = load_cuda()
        count = check(rt.cudaGetDeviceCount())
    except SessionError as err:
        return str(err).removeprefix("CUDA: ").split(";")[0]
    except RuntimeError as err:  # cuda-python 12 raises where the driver library is missing
        return str(err)
    return None if count else "the driver reports no GPU"


def device_info(index: int = 0) -> DeviceInfo | None:
    """The GPU `index`, or None where none can be used."""
    if missing_device():
        return None
    rt = load_cuda()
    props = check(rt.cudaGetDeviceProperties(index))
    driver = check(rt.cudaDriverGetVersion())
    return DeviceInfo(
        name=props.name.decode().rstrip("\0"),
        compute_capability=f"{props.major}.{props.minor}",
        driver_cuda=f"{driver // 1000}.{driver % 1000 // 10}",
        memory_bytes=int(props.totalGlobalMem),
    )


def require_device(where: str, index: int = 0) -> DeviceInfo:
    """Make GPU `index` current and describe it; `where` names the artefact in the error.

    Raises:
        SessionError: no NVIDIA GPU, driver or cuda-python here.
    """
    info = device_info(index)
    if info is None:
        reason = missing_device()
        advice = (
            'Run: pip install "maskrt[gpu]" on a machine with an NVIDIA GPU'
            if reason and "cuda-python" in reason
            else "Run it on a machine with an NVIDIA GPU and its driver"
        )
        raise SessionError(
            f"{where}: no NVIDIA GPU can be used here ({reason}); TensorRT engines run on one. "
            f"{advice}, or use the .onnx file, which runs on this CPU."
        )
    check(load_cuda().cudaSetDevice(index))
    return info


class Stream:
    """A non-blocking stream: it never waits for the default stream; `handle` is its address."""

    def __init__(self) -> None:
        self._rt = load_cuda()
        stream = check(self._rt.cudaStreamCreateWithFlags(self._rt.cudaStreamNonBlocking))
        self.handle = int(stream)

    def synchronize(self) -> None:
        """Wait until everything queued is done; SessionError when any of it failed."""
        check(self._rt.cudaStreamSynchronize(self.handle))

    def close(self) -> None:
        """Destroy the stream."""
        if self.handle:
            handle, self.handle = self.handle, 0
            check(self._rt.cudaStreamDestroy(handle))


class DeviceBuffer:
    """`nbytes` of GPU memory at address `pointer` (at least one byte: TensorRT takes no null)."""

    def __init__(self, nbytes: int) -> None:
        self._rt = load_cuda()
        self.nbytes = nbytes
        self.pointer = int(check(self._rt.cudaMalloc(max(nbytes, 1))))

    def close(self) -> None:
        """Free the memory."""
        if self.pointer:
            pointer, self.pointer = self.pointer, 0
            check(self._rt.cudaFree(pointer))


class PinnedArray:
    """A numpy `array` in page-locked host memory, which copies can reach without a detour.

    The array is a view: use a copy of it once this object is closed.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._rt = load_cuda()
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self._pointer = int(
            check(self._rt.cudaHostAlloc(max(nbytes, 1), self._rt.cudaHostAllocDefault))
        )
        memory = memoryview((ctypes.c_uint8 * nbytes).from_address(self._pointer))
        self.array: AnyArray = np.frombuffer(memory, dtype).reshape(shape)

    def close(self) -> None:
        """Free the memory; the array must not be touched afterwards."""
        if self._pointer:
            pointer, self._pointer = self._pointer, 0
            self.array = np.empty(0, dtype=self.array.dtype)
            check(self._rt.cudaFreeHost(pointer))


def copy_to_device(target: DeviceBuffer, source: AnyArray, stream: Stream) -> None:
    """Queue a copy of C-contiguous `source` into GPU memory; `source` must outlive it."""
    rt = load_cuda()
    kind = rt.cudaMemcpyKind.cudaMemcpyHostToDevice
    assert source.nbytes == target.nbytes, f"{source.nbytes} bytes into {target.nbytes}"
    address = source.ctypes.data
    check(rt.cudaMemcpyAsync(target.pointer, address, target.nbytes, kind, stream.handle))


def copy_to_host(target: AnyArray, source: DeviceBuffer, stream: Stream) -> None:
    """Queue a copy of GPU memory into C-contiguous `target`, valid after `stream.synchronize()`."""
    rt = load_cuda()
    kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
    assert source.nbytes == target.nbytes, f"{source.nbytes} bytes into {target.nbytes}"
    address = target.ctypes.data
    check(rt.cudaMemcpyAsync(address, source.pointer, source.nbytes, kind, stream.handle))


class Graph:
    """Work recorded from a stream, launched again as one call."""

    def __init__(self, stream: Stream, enqueue: Callable[[], None]) -> None:
        """Record what `enqueue` queues on `stream` (after a warm-up run of the same work).

        Thread-local capture: other threads may go on allocating meanwhile.
        """
        self._rt = rt = load_cuda()
        mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(rt.cudaStreamBeginCapture(stream.handle, mode))
        try:
            enqueue()
        except BaseException:
            rt.cudaStreamEndCapture(stream.handle)
            rt.cudaGetLastError()  # a broken capture leaves an error that the next call would get
            raise
        graph = check(rt.cudaStreamEndCapture(stream.handle))
        try:
            self._executable: Any = check(rt.cudaGraphInstantiate(graph, 0))
        finally:
            check(rt.cudaGraphDestroy(graph))

    def launch(self, stream: Stream) -> None:
        """Queue the recorded work on `stream`."""
        check(self._rt.cudaGraphLaunch(self._executable, stream.handle))

    def close(self) -> None:
        """Destroy the graph."""
        if self._executable is not None:
            executable, self._executable = self._executable, None
            check(self._rt.cudaGraphExecDestroy(executable))
