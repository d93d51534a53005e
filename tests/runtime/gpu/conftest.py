"""A stand-in of CUDA with several GPUs, for pictures and masks.

It keeps "GPU" memory in host memory and does nothing before somebody waits: copies and kernels
queue up per stream, as on a GPU, so memory that is filled again too early shows, and so does a
stream that does not wait for another. What belongs to one GPU must be used and freed with that one
current. The kernels themselves are tried in Triton's interpreter
(tests/engines/kernels/test_kernels_pictures.py); here numpy stands for them, reading the arguments
that they are started with.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from maskrt.runtime.gpu import cuda, decode
from maskrt.runtime.gpu import masks as gpu_masks
from maskrt.runtime.gpu import pictures as gpu_pictures
from maskrt.runtime.gpu.cuda import DeviceInfo, missing_device
from maskrt.runtime.gpu.kernels.shipped import Kernel, load_kernel
from maskrt.runtime.results.masks import paste_masks

L4 = DeviceInfo("NVIDIA L4", "8.9", "13.0", 24 << 30)

on_gpu = pytest.mark.skipif(missing_device() is not None, reason=f"no GPU here: {missing_device()}")


def memory(address: int, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Memory at an address as an array."""
    count = int(np.prod(shape))
    kind = ctypes.c_uint8 * (count * np.dtype(dtype).itemsize)
    return np.frombuffer(kind.from_address(address), dtype).reshape(shape)


class Code(int):
    """An error code with the name that cuda-python gives it."""

    name = "cudaErrorInvalidResourceHandle"


class LateCuda:
    """cuda.bindings.runtime over host memory, whose work is done when it is waited for."""

    cudaStreamNonBlocking, cudaHostAllocDefault, cudaEventDisableTiming = 1, 0, 2
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3
    )

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}
        self.made_on: dict[int, int] = {}
        """The GPU of each address, stream and event."""
        self.copied_bytes: list[int] = []
        """Of each copy between host and GPU."""
        self.waits: list[tuple[int, int]] = []
        """(event, stream) of each record, (stream, event) of each wait."""
        self._work: defaultdict[int, list[Callable[[], object]]] = defaultdict(list)
        self._done: defaultdict[int, int] = defaultdict(int)
        self._events: dict[int, tuple[int, int]] = {}
        self._thread = threading.local()
        self._one_at_a_time = threading.RLock()

    @property
    def current(self) -> int:
        """The calling thread's GPU."""
        return getattr(self._thread, "device", 0)

    def queue(self, stream: int, work: Callable[[], object]) -> None:
        with self._one_at_a_time:
            self._work[stream].append(work)

    def _drain(self, stream: int, count: int) -> None:
        """Do the first `count` pieces of a stream's work, those already done aside."""
        with self._one_at_a_time:
            while self._done[stream] < count:
                self._done[stream] += 1
                self._work[stream][self._done[stream] - 1]()

    def new(self, nbytes: int = 1, _: int = 0) -> tuple[int, int]:
        block = ctypes.create_string_buffer(nbytes + 256)
        address = (ctypes.addressof(block) + 255) // 256 * 256
        self.live[address], self.made_on[address] = block, self.current
        return 0, address

    def drop(self, address: int) -> tuple[int]:
        assert self.made_on[address] == self.current, "given up with another GPU current"
        del self.live[address]
        return (0,)

    def free(self, address: int) -> tuple[int]:
        for stream in list(self._work):
            self.cudaStreamSynchronize(stream)
        return self.drop(address)

    def cudaGetErrorString(self, _: int) -> tuple[int, bytes]:
        return 0, b"invalid resource handle"

    def cudaGetDevice(self) -> tuple[int, int]:
        return 0, self.current

    def cudaSetDevice(self, index: int) -> tuple[int]:
        self._thread.device = index
        return (0,)

    def cudaMemcpyAsync(self, target: int, source: int, n: int, kind: int, stream: int) -> Any:
        self.queue(stream, lambda: ctypes.memmove(target, source, n))
        if kind != self.cudaMemcpyKind.cudaMemcpyDeviceToDevice:
            self.copied_bytes.append(n)
        return (0,)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:
        if self.made_on.get(stream, self.current) != self.made_on[event]:
            return (Code(400),)
        self._events[event] = stream, len(self._work[stream])
        self.waits.append((event, stream))
        return (0,)

    def cudaStreamWaitEvent(self, stream: int, event: int, _: int) -> tuple[int]:
        until = self._events[event]
        self.queue(stream, lambda: self._drain(*until))
        self.waits.append((stream, event))
        return (0,)

    def cudaEventSynchronize(self, event: int) -> tuple[int]:
        if event in self._events:
            self._drain(*self._events[event])
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        self._drain(stream, len(self._work[stream]))
        return (0,)

    cudaMalloc = cudaHostAlloc = new
    cudaStreamCreateWithFlags = cudaEventCreateWithFlags = new
    cudaFree = cudaFreeHost = free
    cudaStreamDestroy = cudaEventDestroy = drop


class NumpyKernel:
    """A kernel whose work numpy and OpenCV do, from the arguments it is started with."""

    def __init__(self, name: str, late: LateCuda) -> None:
        self.kernel: Kernel = load_kernel(name, "8.9")
        self._work = {"place_picture": place, "paste_masks": paste, "mark_runs": mark}[name]
        self._late = late

    def launch(
        self,
        grid: Sequence[int],
        inputs: Sequence[int],
        scalars: Sequence[int],
        output: int,
        stream: int,
    ) -> None:
        assert len(inputs) + len(scalars) + 1 == len(self.kernel.arguments)
        assert min(grid) >= 1
        assert max(grid[1:]) <= 65535
        assert stream in self._late.live
        assert self._late.made_on[stream] == self._late.current
        self._late.queue(stream, lambda: self._work(grid, inputs, scalars, output))


def place(_: Any, inputs: Sequence[int], scalars: Sequence[int], output: int) -> None:
    height, width, scaled_height, scaled_width, slot, canvas_height, canvas_width = scalars
    image = memory(inputs[0], (height, width, 3), np.uint8)
    canvas = memory(output, (slot + 1, canvas_height, canvas_width, 3), np.uint8)[slot]
    canvas[:] = 0
    canvas[:scaled_height, :scaled_width] = cv2.resize(
        image, (scaled_width, scaled_height), interpolation=cv2.INTER_LINEAR
    )


def paste(grid: Any, inputs: Sequence[int], scalars: Sequence[int], output: int) -> None:
    count, (cells, height, width, bits) = grid[0], scalars
    masks = memory(inputs[0], (count, cells, cells), np.float32)
    boxes = memory(inputs[1], (count, 4), np.float32)
    threshold = float(np.int32(bits).view(np.float32))
    pasted = paste_masks(masks, boxes, (height, width), threshold)
    memory(output, (count, width, height), np.uint8)[:] = pasted.swapaxes(1, 2)


def mark(grid: Any, inputs: Sequence[int], scalars: Sequence[int], output: int) -> None:
    pixels, words = scalars
    masks = memory(inputs[0], (grid[0], pixels), np.uint8).astype(int)
    flags = np.zeros((grid[0], words * 32), np.uint8)
    flags[:, :pixels] = np.diff(masks, axis=1, prepend=0) != 0
    packed = np.packbits(flags, axis=1, bitorder="little").view(np.uint32)
    memory(output, (grid[0], words), np.uint32)[:] = packed


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateCuda:
    fake = LateCuda()
    monkeypatch.setattr(cuda, "load_cuda", lambda: fake)
    monkeypatch.setattr(cuda, "require_device", lambda *_: L4)
    for module in (gpu_pictures, gpu_masks):
        monkeypatch.setattr(module, "kernel_here", lambda name: NumpyKernel(name, fake))
    return fake


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def read(late: LateCuda, array: Any) -> npt.NDArray[Any]:
    """An array in the stand-in's memory, by what it says of itself."""
    facts = array.__cuda_array_interface__
    late.cudaStreamSynchronize(facts["stream"])
    assert (facts["version"], facts["strides"]) == (3, None)
    return memory(facts["data"][0], facts["shape"], facts["typestr"]).copy()


class OnGpu:
    """A picture in the stand-in's memory as another library has it, at any address."""

    def __init__(self, late: LateCuda, image: npt.NDArray[np.uint8], offset: int = 0) -> None:
        _, self._address = late.new(image.nbytes + offset)
        self._start = self._address + offset
        self._late, self.shape = late, image.shape
        memory(self._start, image.shape, np.uint8)[:] = image

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": "|u1",
            "data": (self._start, False),
            "strides": None,
            "stream": 77,
            "version": 3,
        }

    def cpu(self) -> npt.NDArray[np.uint8]:
        """As nvImageCodec has it."""
        return memory(self._start, self.shape, np.uint8).copy()

    def free(self) -> None:
        self._late.free(self._address)


@pytest.fixture
def nvimgcodec(late: LateCuda, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """A stand-in of nvImageCodec that decodes what OpenCV can; gives its calls: GPU and stream."""
    calls: list[tuple[int, int]] = []

    class Decoder:
        def __init__(self, device_id: int) -> None:
            self._device = device_id

        def decode(self, data: bytes, cuda_stream: int = 0) -> OnGpu | None:
            calls.append((self._device, cuda_stream))
            assert late.made_on[cuda_stream] == late.current == self._device
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            return None if image is None else OnGpu(late, image[:, :, ::-1].astype(np.uint8))

    module = ModuleType("nvidia.nvimgcodec")
    module.Decoder = Decoder  # type: ignore[attr-defined]
    package = ModuleType("nvidia")
    package.nvimgcodec = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvidia", package)
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", module)
    decode._decoder.cache_clear()
    yield calls
    decode._decoder.cache_clear()
