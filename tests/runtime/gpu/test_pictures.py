"""Pictures, masks and decoding on the GPU: for real on a GPU, elsewhere with a stand-in of CUDA.

The stand-in keeps "GPU" memory in host memory and does nothing before somebody waits: copies and
kernels queue up, as on a GPU, so memory that is filled again too early shows. The kernels
themselves are tried in Triton's interpreter (tests/engines/test_kernels_pictures.py); here numpy
stands for them, reading the arguments that they are started with.
"""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import ContractError, InputError, SessionError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu import decode as gpu_decode
from maskrt.runtime.gpu import masks as gpu_masks
from maskrt.runtime.gpu import pictures as gpu_pictures
from maskrt.runtime.gpu.cuda import DeviceInfo, missing_device
from maskrt.runtime.gpu.kernels.shipped import Kernel, load_kernel
from maskrt.runtime.gpu.masks import GpuMasks, counts_from_marks
from maskrt.runtime.gpu.pictures import GpuPictures
from maskrt.runtime.gpu.staging import Staging
from maskrt.runtime.pictures.preprocess import place_on_canvas
from maskrt.runtime.results.masks import paste_masks, paste_one
from maskrt.runtime.results.rle import counts_from_crop

Array = npt.NDArray[Any]
L4 = DeviceInfo("NVIDIA L4", "8.9", "13.0", 24 << 30)
ONE_GREY_LEVEL = 1
EQUAL_SHARE = 0.99


def memory(address: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """Memory at an address as an array."""
    count = int(np.prod(shape))
    kind = ctypes.c_uint8 * (count * np.dtype(dtype).itemsize)
    return np.frombuffer(kind.from_address(address), dtype).reshape(shape)


class LateCuda:
    """cuda.bindings.runtime over host memory, whose work is done when it is waited for."""

    cudaStreamNonBlocking, cudaHostAllocDefault, cudaEventDisableTiming = 1, 0, 2
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}
        self.queue: list[Callable[[], object]] = []
        self.copied_bytes: list[int] = []
        self.waits: list[tuple[int, int]] = []

    def _new(self, nbytes: int = 1, _: int = 0) -> tuple[int, int]:
        block = ctypes.create_string_buffer(nbytes + 256)
        address = (ctypes.addressof(block) + 255) // 256 * 256
        self.live[address] = block
        return 0, address

    def _drop(self, address: int) -> tuple[int]:
        self._finish()
        del self.live[address]
        return (0,)

    def _finish(self, *_: Any) -> tuple[int]:
        while self.queue:
            self.queue.pop(0)()
        return (0,)

    def cudaMemcpyAsync(self, target: int, source: int, n: int, *_: Any) -> tuple[int]:
        self.queue.append(lambda: ctypes.memmove(target, source, n))
        self.copied_bytes.append(n)
        return (0,)

    def cudaGetDevice(self) -> tuple[int, int]:
        return 0, 0

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:
        self.waits.append((event, stream))
        return (0,)

    def cudaStreamWaitEvent(self, stream: int, event: int, _: int) -> tuple[int]:
        self.waits.append((stream, event))
        return (0,)

    cudaMalloc = cudaHostAlloc = _new
    cudaStreamCreateWithFlags = cudaEventCreateWithFlags = _new
    cudaFree = cudaFreeHost = cudaStreamDestroy = cudaEventDestroy = _drop
    cudaStreamSynchronize = cudaEventSynchronize = _finish


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
        assert stream in self._late.live
        self._late.queue.append(lambda: self._work(grid, inputs, scalars, output))


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


def read(late: LateCuda, array: Any) -> Array:
    """An array in the stand-in's memory, by what it says of itself."""
    late.cudaStreamSynchronize(0)
    facts = array.__cuda_array_interface__
    assert (facts["version"], facts["strides"]) == (3, None)
    return memory(facts["data"][0], facts["shape"], facts["typestr"]).copy()


def test_the_canvas_is_the_cpus_and_only_the_picture_is_copied(
    tiny_contract: Contract, late: LateCuda
) -> None:
    images = [noise(20, 31, 3), noise(90, 40, 3)]
    canvases, sizes = place_on_canvas(images, tiny_contract)
    with GpuPictures(tiny_contract) as pictures:
        np.testing.assert_array_equal(pictures.place(images), sizes)
        np.testing.assert_array_equal(read(late, pictures.images), canvases)
        np.testing.assert_array_equal(read(late, pictures.image_sizes), sizes)
        assert pictures.images.__cuda_array_interface__["stream"] == pictures.stream.handle
        assert late.copied_bytes == [images[0].nbytes, images[1].nbytes, sizes.nbytes]
    assert late.live == {}


def test_slots_without_a_picture_are_black(tiny_contract: Contract, late: LateCuda) -> None:
    with GpuPictures(tiny_contract) as pictures:
        pictures.place([noise(32, 48, 3)] * 2)
        for images in ([noise(9, 5, 3)], []):
            canvases, sizes = place_on_canvas(images, tiny_contract)
            np.testing.assert_array_equal(pictures.place(images), sizes)
            np.testing.assert_array_equal(read(late, pictures.images), canvases)
            np.testing.assert_array_equal(read(late, pictures.image_sizes), sizes)


def test_the_callers_array_may_change_at_once(tiny_contract: Contract, late: LateCuda) -> None:
    image = noise(20, 30, 3)
    canvases, _ = place_on_canvas([image], tiny_contract)
    with GpuPictures(tiny_contract) as pictures:
        pictures.place([image])
        image[:] = 0
        np.testing.assert_array_equal(read(late, pictures.images), canvases)


def test_addresses_stay_and_staging_grows_only_for_larger_pictures(
    tiny_contract: Contract, late: LateCuda
) -> None:
    with GpuPictures(tiny_contract) as pictures:
        found = {pictures.images.pointer}
        memories = []
        for side in (40, 10, 40, 60, 5):
            image = noise(side, side, 3)
            pictures.place([image, image])
            canvases, _ = place_on_canvas([image, image], tiny_contract)
            np.testing.assert_array_equal(read(late, pictures.images), canvases)
            found.add(pictures.images.pointer)
            memories.append(frozenset(late.live))
    assert len(found) == 1
    assert memories[0] == memories[1] == memories[2] != memories[3] == memories[4]
    assert len(memories[0]) == len(memories[3])


def test_pictures_placed_one_after_the_other_do_not_overwrite_each_others_staging(
    tiny_contract: Contract, late: LateCuda
) -> None:
    """What a kernel read is compared after the next picture has been handed over."""
    first, second = noise(20, 30, 3), noise(30, 20, 3)
    seen = []
    with GpuPictures(tiny_contract) as pictures:
        pictures.place([first])
        late.queue.append(
            lambda: seen.append(memory(pictures.images.pointer, (2, 32, 48, 3), np.uint8).copy())
        )
        pictures.place([second])
        canvases, _ = place_on_canvas([first], tiny_contract)
        np.testing.assert_array_equal(seen[0], canvases)


def test_pictures_on_the_gpu_are_not_copied_and_their_stream_is_waited_for(
    tiny_contract: Contract, late: LateCuda
) -> None:
    image = noise(20, 31, 3)
    _, address = late._new(image.nbytes)
    memory(address, image.shape, np.uint8)[:] = image
    facts = {
        "shape": image.shape,
        "typestr": "|u1",
        "data": (address, False),
        "strides": None,
        "stream": 77,
        "version": 3,
    }
    with GpuPictures(tiny_contract) as pictures:
        sizes = pictures.place([SimpleNamespace(__cuda_array_interface__=facts)])
        assert late.waits[0][1] == 77
        assert late.waits[1][0] == pictures.stream.handle
        canvases, expected = place_on_canvas([image], tiny_contract)
        np.testing.assert_array_equal(read(late, pictures.images), canvases)
        np.testing.assert_array_equal(sizes, expected)
        assert late.copied_bytes == [3, sizes.nbytes]  # the empty slot's pixel
    late._drop(address)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([noise(4, 4, 3)] * 3, "got 3 pictures; one batch takes 2"),
        ([noise(4, 4, 3), noise(4, 4)], r"picture 1: got shape \(4, 4\)"),
        ([noise(4, 4, 3).astype(float)], "picture 0: got shape .* float64"),
        (["a.jpg"], "picture 0: got shape None, str"),
        (
            [SimpleNamespace(__cuda_array_interface__={"shape": (4, 4)})],
            r"picture 0: got shape \(4, 4\); expected non-empty",
        ),
        (
            [
                SimpleNamespace(
                    __cuda_array_interface__={
                        "shape": (4, 4, 3), "typestr": "<f4", "data": (256, False), "version": 3,
                    }
                )
            ],
            "'picture 0' got .* float32; expected .* uint8",
        ),
    ],
    ids=["too many", "grey", "float", "path", "grey on the GPU", "float on the GPU"],
)  # fmt: skip
def test_what_is_no_picture_is_refused_before_anything_is_queued(
    tiny_contract: Contract, late: LateCuda, images: list[Any], message: str
) -> None:
    with GpuPictures(tiny_contract) as pictures, pytest.raises(ContractError, match=message):
        pictures.place(images)
    assert late.copied_bytes == []


def test_a_callers_stream_is_used_and_left_open(tiny_contract: Contract, late: LateCuda) -> None:
    stream = cuda.Stream()
    with GpuPictures(tiny_contract, stream) as pictures:
        assert pictures.stream is stream
        pictures.place([noise(4, 4, 3)])
    assert list(late.live) == [stream.handle]
    pictures.close()
    with pytest.raises(SessionError, match="pictures on the GPU: closed"):
        pictures.place([])


def test_memory_is_freed_when_opening_fails(
    tiny_contract: Contract, late: LateCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise SessionError("no kernel")

    monkeypatch.setattr(gpu_pictures, "kernel_here", refuse)
    with pytest.raises(SessionError, match="no kernel"):
        GpuPictures(tiny_contract)
    assert late.live == {}


@pytest.mark.skipif(missing_device() is None, reason="this machine has a GPU")
def test_a_machine_without_a_gpu_gets_one_sentence(tiny_contract: Contract) -> None:
    with pytest.raises(SessionError, match="pictures on the GPU: no NVIDIA GPU can be used here"):
        GpuPictures(tiny_contract)


def test_staging_reads_back_what_was_uploaded(late: LateCuda) -> None:
    stream, staging = cuda.Stream(), Staging()
    for values in (np.arange(6, dtype=np.float32), np.arange(4, dtype=np.int32).reshape(2, 2)):
        address = staging.upload(values, stream)
        assert staging.room(values.nbytes) == address
        np.testing.assert_array_equal(staging.download(values.shape, values.dtype, stream), values)
    staging.close()
    staging.close()
    assert list(late.live) == [stream.handle]


MASK_HW = (41, 57)


def masks_and_boxes() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    corners = rng.uniform(-5, 40, (7, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(1, 40, (7, 2))), 1)
    return rng.random((7, 28, 28), dtype=np.float32), boxes.astype(np.float32)


def cpu_counts(masks: Array, boxes: Array, threshold: float) -> list[Array]:
    pairs = zip(masks, boxes, strict=True)
    return [
        counts_from_crop(*paste_one(mask, box, MASK_HW, threshold), MASK_HW) for mask, box in pairs
    ]


def test_masks_and_counts_are_the_cpus(late: LateCuda) -> None:
    masks, boxes = masks_and_boxes()
    stream = cuda.Stream()
    with GpuMasks(stream) as gpu:
        for count, threshold in ((7, 0.5), (2, 0.2), (7, 0.8)):
            few = masks[:count], boxes[:count]
            found = gpu.paste(*few, MASK_HW, threshold)
            np.testing.assert_array_equal(found, paste_masks(*few, MASK_HW, threshold))
            assert found.dtype == np.bool_
            counts = gpu.counts(*few, MASK_HW, threshold)
            for one, want in zip(counts, cpu_counts(*few, threshold), strict=True):
                np.testing.assert_array_equal(one, want)
    assert list(late.live) == [stream.handle]


def test_no_masks_start_no_kernel(late: LateCuda) -> None:
    none = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    with GpuMasks(cuda.Stream()) as gpu:
        assert gpu.paste(*none, MASK_HW).shape == (0, *MASK_HW)
        assert gpu.counts(*none, MASK_HW) == []
        assert late.copied_bytes == []


def test_masks_and_boxes_must_agree(late: LateCuda) -> None:
    masks, boxes = masks_and_boxes()
    with GpuMasks(cuda.Stream()) as gpu:
        for wrong in ((masks, boxes[:3]), (masks[0], boxes), (masks[:, 1:], boxes)):
            with pytest.raises(ContractError, match=r"expected \(N, m, m\) and \(N, 4\)"):
                gpu.paste(*wrong, MASK_HW)


@pytest.mark.parametrize(
    ("ends", "pixels", "counts"),
    [
        ([], 40, [40]),
        ([0], 40, [0, 40]),
        ([39], 40, [39, 1]),
        ([0, 31, 32, 39], 40, [0, 31, 1, 7, 1]),
        ([64], 96, [64, 32]),
    ],
    ids=str,
)
def test_counts_are_the_ways_between_marks(ends: list[int], pixels: int, counts: list[int]) -> None:
    flags = np.zeros(-(-pixels // 32) * 32, np.uint8)
    flags[ends] = 1
    marks = np.packbits(flags, bitorder="little").view(np.uint32)
    found = counts_from_marks(marks, pixels)
    assert found.tolist() == counts
    assert found.dtype == np.int64


@pytest.fixture
def nvimgcodec(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int]]:
    """A stand-in of nvImageCodec that decodes what starts with "JPEG"; returns its calls."""
    calls: list[tuple[bytes, int]] = []

    class Decoder:
        def decode(self, data: bytes, cuda_stream: int = 0) -> Any:
            calls.append((data, cuda_stream))
            return "decoded" if data.startswith(b"JPEG") else None

    module = ModuleType("nvidia.nvimgcodec")
    module.Decoder = Decoder  # type: ignore[attr-defined]
    package = ModuleType("nvidia")
    package.nvimgcodec = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvidia", package)
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", module)
    gpu_decode._decoder.cache_clear()
    yield calls
    gpu_decode._decoder.cache_clear()


def test_files_are_decoded_on_the_callers_stream(
    tmp_path: Path, late: LateCuda, nvimgcodec: list[tuple[bytes, int]]
) -> None:
    path, stream = tmp_path / "a.jpg", cuda.Stream()
    path.write_bytes(b"JPEG data")
    assert gpu_decode.read_image_on_gpu(path, stream) == "decoded"
    assert nvimgcodec == [(b"JPEG data", stream.handle)]


def test_files_that_are_not_decoded_are_input_errors(
    tmp_path: Path, late: LateCuda, nvimgcodec: list[tuple[bytes, int]]
) -> None:
    path = tmp_path / "a.jpg"
    with pytest.raises(InputError, match=r"a\.jpg: could not be read \(No such file"):
        gpu_decode.read_image_on_gpu(path, cuda.Stream())
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"not decoded by nvImageCodec \(10 bytes\).*read_image"):
        gpu_decode.read_image_on_gpu(path, cuda.Stream())


def test_missing_nvimagecodec_gets_the_pip_line(
    late: LateCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    gpu_decode._decoder.cache_clear()
    with pytest.raises(SessionError, match=r'pip install "\.\[gpu-decode\]"'):
        gpu_decode.read_image_on_gpu("a.jpg", cuda.Stream())


on_gpu = pytest.mark.skipif(missing_device() is not None, reason=f"no GPU here: {missing_device()}")


def read_back(pictures: GpuPictures) -> tuple[Array, Array]:
    """Canvases and sizes as the GPU holds them."""
    rt = cuda.load_cuda()
    found = []
    for array in (pictures.images, pictures.image_sizes):
        host = np.empty(array.shape, array.dtype)
        kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        cuda.check(
            rt.cudaMemcpyAsync(
                host.ctypes.data, array.pointer, host.nbytes, kind, pictures.stream.handle
            )
        )
        found.append(host)
    pictures.stream.synchronize()
    return found[0], found[1]


@pytest.mark.gpu
@on_gpu
def test_canvases_on_a_gpu_are_the_cpus(tiny_contract: Contract) -> None:
    contract = dataclasses.replace(tiny_contract, canvas_hw=(800, 1344))
    contract = dataclasses.replace(
        contract, resize=dataclasses.replace(contract.resize, long_side_px=1333)
    )
    sides = [(480, 640), (1, 1), (1, 3000), (3000, 1), (2000, 3000), (801, 1344), (400, 672)]
    with GpuPictures(contract) as pictures:
        for height, width in sides:
            images = [noise(height, width, 3), noise(width, height, 3)]
            want, sizes = place_on_canvas(images, contract)
            pictures.place(images)
            canvases, found = read_back(pictures)
            np.testing.assert_array_equal(found, sizes)
            for canvas, expected, (high, wide) in zip(canvases, want, sizes, strict=True):
                assert not canvas[high:].any()
                assert not canvas[:, wide:].any()
                difference = np.abs(canvas.astype(int) - expected)[:high, :wide]
                assert difference.max() <= ONE_GREY_LEVEL
                assert (difference == 0).mean() >= EQUAL_SHARE


@pytest.mark.gpu
@on_gpu
def test_masks_on_a_gpu_are_the_cpus() -> None:
    masks, boxes = masks_and_boxes()
    cuda.require_device("test")
    stream = cuda.Stream()
    with GpuMasks(stream) as gpu:
        for threshold in (0.2, 0.5):
            found = gpu.paste(masks, boxes, MASK_HW, threshold)
            np.testing.assert_array_equal(found, paste_masks(masks, boxes, MASK_HW, threshold))
            counts = gpu.counts(masks, boxes, MASK_HW, threshold)
            for one, want in zip(counts, cpu_counts(masks, boxes, threshold), strict=True):
                np.testing.assert_array_equal(one, want)
    stream.close()
