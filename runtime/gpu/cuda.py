"""CUDA devices, streams and memory: the few calls a session needs, each one checked.

A thin layer over cuda-python (`cuda.bindings.runtime`), whose calls all answer a tuple that
starts with an error code. Importable without CUDA: the bindings load on first use. Pointers are
plain ints, as TensorRT takes them. Owners of CUDA resources have `close()`, to be called any number
of times. A caller's own stream and allocator (PyCUDA's, torch's) can take the place of ours.
Source: CUDA Runtime API 12.8 to 13.x, device, stream and memory management.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, SessionError, pip_line
from .driver import ELSEWHERE, INSUFFICIENT, driver_trouble

AnyArray = npt.NDArray[Any]
Allocator = Callable[[int], Any]
"""Bytes -> an object that `int()` turns into a GPU address; its last reference frees the memory."""
LEGACY_STREAM = 1
"""The handle that names the default stream, where 0 could also mean "none" (`cudaStreamLegacy`)."""


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
            f"streams. {pip_line('gpu')}"
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
    trouble = _trouble()
    return None if trouble is None else trouble[0]


def device_advice() -> str:
    """What to do where `missing_device` gives a reason, without a full stop; "" elsewhere."""
    trouble = _trouble()
    return "" if trouble is None else trouble[1]


def _trouble() -> tuple[str, str] | None:
    try:
        rt = load_cuda()
    except SessionError as err:
        reason = str(err).removeprefix("CUDA: ").split(";")[0]
        return reason, f"{pip_line('gpu')} on a machine with an NVIDIA GPU"
    try:
        answer = rt.cudaGetDeviceCount()
        if int(answer[0]) == INSUFFICIENT:
            return driver_trouble(rt, bindings_version())
        count = check(answer)
    except SessionError as err:
        return str(err).removeprefix("CUDA: ").split(";")[0], ELSEWHERE
    except RuntimeError as err:  # cuda-python 12 raises where the driver library is missing
        return str(err), ELSEWHERE
    return None if count else ("the driver reports no GPU", ELSEWHERE)


def bindings_version() -> str:
    """Of cuda-python, e.g. "13.4.4"."""
    import cuda.bindings

    return str(cuda.bindings.__version__)


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
    """Describe GPU `index`; `where` names the artefact in the error.

    Raises:
        SessionError: no NVIDIA GPU, driver or cuda-python here.
    """
    info = device_info(index)
    if info is None:
        raise SessionError(
            f"{where}: no NVIDIA GPU can be used here ({missing_device()}); TensorRT engines run "
            f"on one. {device_advice()}, or use the .onnx file, which runs on this CPU."
        )
    return info


@contextlib.contextmanager
def using_device(index: int) -> Iterator[None]:
    """Make GPU `index` current in this thread for the block: each thread starts on GPU 0."""
    rt = load_cuda()
    before = int(check(rt.cudaGetDevice()))
    if before == index:
        yield
        return
    check(rt.cudaSetDevice(index))
    try:
        yield
    finally:
        check(rt.cudaSetDevice(before))


def close_on(index: int, resources: contextlib.ExitStack) -> None:
    """Close `resources` with GPU `index` current: freed on another, that one gets a context too."""
    try:
        with using_device(index):
            resources.close()
    finally:
        resources.close()  # where the GPU could not be made current: as far as it goes


class Stream:
    """A stream by its `handle`: a non-blocking one of our own, or the caller's, never destroyed.

    Non-blocking: it never waits for the default stream by itself.
    """

    def __init__(self, borrowed: object | None = None) -> None:
        """Create a stream, or take the caller's; see `stream_handle` for what can be one."""
        self._rt = load_cuda()
        self._borrowed = borrowed  # held, so that it outlives the work queued on it
        if borrowed is None:
            flags = self._rt.cudaStreamNonBlocking
            self.handle = int(check(self._rt.cudaStreamCreateWithFlags(flags)))
        else:
            self.handle = stream_handle(borrowed)

    @property
    def is_callers(self) -> bool:
        """Whether the caller orders the work on it and waits for it."""
        return self._borrowed is not None

    def synchronize(self) -> None:
        """Wait until everything queued is done; SessionError when any of it failed."""
        check(self._rt.cudaStreamSynchronize(self.handle))

    def close(self) -> None:
        """Destroy the stream if it is ours."""
        if self.handle:
            handle, self.handle = self.handle, 0
            if not self.is_callers:
                check(self._rt.cudaStreamDestroy(handle))


def stream_handle(stream: object) -> int:
    """The address of a stream: an int, or an object of PyCUDA, torch, CuPy or cuda.core.

    Read from `__cuda_stream__`, `handle` (PyCUDA), `cuda_stream` (torch) or `ptr` (CuPy).

    Raises:
        InputError: it is none of these, or the default stream, on which TensorRT waits for the
            whole device and CUDA captures no graph.
    """
    found: Any = stream
    if hasattr(stream, "__cuda_stream__"):
        found = stream.__cuda_stream__
        found = (found() if callable(found) else found)[1]  # (protocol version, handle)
    else:
        names = [name for name in ("handle", "cuda_stream", "ptr") if hasattr(stream, name)]
        found = getattr(stream, names[0]) if names else stream
    try:
        handle = int(found)
    except (TypeError, ValueError) as err:
        raise InputError(
            f"stream: {type(stream).__name__} found; expected an int, or an object with 'handle', "
            "'cuda_stream' or '__cuda_stream__'. Pass a CUDA stream."
        ) from err
    if handle in (0, LEGACY_STREAM):
        raise InputError(
            "stream: the default stream found; expected a stream of its own, because TensorRT "
            "waits for the whole device on the default one. Create a stream and pass that."
        )
    return handle


def wait_for(waiting: int, ahead: int, device: int) -> None:
    """Work queued on stream `waiting` from here on starts after what is queued on `ahead` now.

    Both are streams of GPU `device`, which need not be current: an event is its GPU's alone, and
    so is the default stream that a handle of `LEGACY_STREAM` means.
    """
    if waiting == ahead:
        return
    rt = load_cuda()
    with using_device(device):
        event = check(rt.cudaEventCreateWithFlags(rt.cudaEventDisableTiming))
        try:
            check(rt.cudaEventRecord(event, ahead))
            check(rt.cudaStreamWaitEvent(waiting, event, 0))
        finally:
            check(rt.cudaEventDestroy(event))  # CUDA keeps it until the wait is over


class DeviceBuffer:
    """`nbytes` of GPU memory at address `pointer` (at least one byte: TensorRT takes no null)."""

    def __init__(self, nbytes: int, allocator: Allocator | None = None) -> None:
        """Allocate through `allocator`, or through `cudaMalloc`.

        Raises:
            SessionError: there is not enough GPU memory.
        """
        self._rt = load_cuda()
        self._allocation: Any = None
        self.nbytes = nbytes
        if allocator is None:
            self.pointer = int(check(self._rt.cudaMalloc(max(nbytes, 1))))
        else:
            self._allocation = _allocate(allocator, max(nbytes, 1))
            self.pointer = int(self._allocation)

    def close(self) -> None:
        """Free the memory, or let go of the caller's allocation."""
        if self.pointer:
            pointer, self.pointer = self.pointer, 0
            if self._allocation is None:
                check(self._rt.cudaFree(pointer))
            self._allocation = None


def _allocate(allocator: Allocator, nbytes: int) -> Any:
    try:
        return allocator(nbytes)
    except Exception as err:  # the caller's: its errors share no base class
        raise SessionError(
            f"CUDA: the allocator gave no {nbytes} bytes ({err}); expected GPU memory. "
            "Free some, or open the session without 'allocator'."
        ) from err


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


def copy_on_device(target: DeviceBuffer, source: int, stream: Stream) -> None:
    """Queue a copy from address `source` in the same GPU's memory; it must outlive the copy."""
    rt = load_cuda()
    kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    check(rt.cudaMemcpyAsync(target.pointer, source, target.nbytes, kind, stream.handle))


def copy_to_host(target: AnyArray, source: DeviceBuffer, stream: Stream) -> None:
    """Queue a copy of GPU memory into C-contiguous `target`, valid after `stream.synchronize()`."""
    rt = load_cuda()
    kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
    assert source.nbytes == target.nbytes, f"{source.nbytes} bytes into {target.nbytes}"
    address = target.ctypes.data
    check(rt.cudaMemcpyAsync(address, source.pointer, source.nbytes, kind, stream.handle))
