"""Canvases on the GPU: for real on a GPU, elsewhere with the stand-in of conftest."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import ContractError, SessionError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu import pictures as gpu_pictures
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.runtime.gpu.pictures import GpuPictures
from maskrt.runtime.gpu.staging import Staging
from maskrt.runtime.pictures.preprocess import place_on_canvas

from .conftest import LateCuda, OnGpu, memory, noise, on_gpu, read

ONE_GREY_LEVEL = 1
EQUAL_SHARE = 0.99


def test_the_canvas_is_the_cpus_and_only_the_picture_is_copied(
    tiny_contract: Contract, late: LateCuda
) -> None:
    images = [noise(20, 31, 3), noise(90, 40, 3)]
    canvases, sizes = place_on_canvas(images, tiny_contract)
    with GpuPictures(tiny_contract) as pictures:
        np.testing.assert_array_equal(pictures.place(images), sizes)
        np.testing.assert_array_equal(read(late, pictures.images), canvases)
        assert pictures.images.__cuda_array_interface__["stream"] == pictures.stream.handle
        assert late.copied_bytes == [images[0].nbytes, images[1].nbytes]
    assert late.live == {}


def test_slots_without_a_picture_are_black(tiny_contract: Contract, late: LateCuda) -> None:
    with GpuPictures(tiny_contract) as pictures:
        pictures.place([noise(32, 48, 3)] * 2)
        for images in ([noise(9, 5, 3)], []):
            canvases, sizes = place_on_canvas(images, tiny_contract)
            np.testing.assert_array_equal(pictures.place(images), sizes)
            np.testing.assert_array_equal(read(late, pictures.images), canvases)


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
    first, second = noise(20, 30, 3), noise(30, 20, 3) // 2
    seen = []
    with GpuPictures(tiny_contract) as pictures:
        pictures.place([first])
        late.queue(
            pictures.stream.handle,
            lambda: seen.append(memory(pictures.images.pointer, (2, 32, 48, 3), np.uint8).copy()),
        )
        pictures.place([second])
        pictures.stream.synchronize()
        canvases, _ = place_on_canvas([first], tiny_contract)
        np.testing.assert_array_equal(seen[0], canvases)


@pytest.mark.parametrize("offset", [0, 1])
def test_pictures_on_the_gpu_are_not_copied_and_their_stream_is_waited_for(
    tiny_contract: Contract, late: LateCuda, offset: int
) -> None:
    """A view into a batch starts at any address: the kernel reads bytes."""
    image = noise(20, 31, 3)
    given = OnGpu(late, image, offset)
    with GpuPictures(tiny_contract) as pictures:
        sizes = pictures.place([given])
        assert late.waits[0][1] == 77
        assert late.waits[1][0] == pictures.stream.handle
        canvases, expected = place_on_canvas([image], tiny_contract)
        np.testing.assert_array_equal(read(late, pictures.images), canvases)
        np.testing.assert_array_equal(sizes, expected)
        assert late.copied_bytes == [3]  # the empty slot's pixel
    given.free()


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


def test_what_is_closed_places_nothing(tiny_contract: Contract, late: LateCuda) -> None:
    pictures = GpuPictures(tiny_contract)
    pictures.close()
    pictures.close()
    with pytest.raises(SessionError, match="pictures on the GPU: closed"):
        pictures.place([])


def test_another_gpu_is_used_and_the_threads_own_stays_current(
    tiny_contract: Contract, late: LateCuda
) -> None:
    image = noise(20, 31, 3)
    with GpuPictures(tiny_contract, device=1) as pictures:
        assert late.current == 0
        pictures.place([image])
        assert late.current == 0
        canvases, _ = place_on_canvas([image], tiny_contract)
        np.testing.assert_array_equal(read(late, pictures.images), canvases)
        assert set(late.made_on.values()) == {1}
    assert (late.current, late.live) == (0, {})


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


def read_back(pictures: GpuPictures) -> npt.NDArray[np.uint8]:
    """Canvases as the GPU holds them."""
    rt, host = cuda.load_cuda(), np.empty(pictures.images.shape, np.uint8)
    kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
    source, stream = pictures.images.pointer, pictures.stream
    cuda.check(rt.cudaMemcpyAsync(host.ctypes.data, source, host.nbytes, kind, stream.handle))
    stream.synchronize()
    return host


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
            found = pictures.place(images)
            canvases = read_back(pictures)
            np.testing.assert_array_equal(found, sizes)
            for canvas, expected, (high, wide) in zip(canvases, want, sizes, strict=True):
                assert not canvas[high:].any()
                assert not canvas[:, wide:].any()
                difference = np.abs(canvas.astype(int) - expected)[:high, :wide]
                assert difference.max() <= ONE_GREY_LEVEL
                assert (difference == 0).mean() >= EQUAL_SHARE
