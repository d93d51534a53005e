"""Arrays in GPU memory, in and out, through stand-ins."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.errors import ContractError, SessionError
from maskrt.runtime.gpu.cuda import DeviceBuffer
from maskrt.runtime.gpu.device_array import DeviceArray
from maskrt.runtime.gpu.pycuda_path import gpu_array_from
from maskrt.runtime.sessions.trt.session import TrtSession

IMAGES = np.zeros((1, 4, 4, 3), np.uint8)
SIZES = np.array([[4, 3]], np.int32)


def test_arrays_on_the_gpu_run_without_copies(
    write_engine: Any, host_cuda: Any, engine: Any, way: Any
) -> None:
    with TrtSession(write_engine(), **way.options) as session:
        images, sizes = way.to_gpu(IMAGES), way.to_gpu(SIZES)
        host_cuda.log.clear()
        doubled = session.run_on_device(images, sizes)["doubled"]
        assert "copy" not in host_cuda.log
        assert host_cuda.read(doubled).tolist() == [[8, 6]]
        # its own buffers are bound again
        assert session.run(IMAGES, SIZES - 1)["doubled"].tolist() == [[6, 4]]


def test_own_buffers_written_in_place_run_by_the_graph(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    with TrtSession(write_engine()) as session, session.lease() as context:
        sizes = context.inputs["image_sizes"]
        host_cuda.read(sizes)[...] = [[2, 1]]
        host_cuda.log.clear()
        doubled = context.run_on_device(context.inputs["images"], sizes)["doubled"]
        assert host_cuda.log == ["launch", "engine", "synchronize"]
        assert host_cuda.read(doubled).tolist() == [[4, 2]]


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("offset", [0, 1])
def test_canvases_on_the_gpu_are_copied_there_and_run_by_the_graph(
    write_engine: Any, host_cuda: Any, engine: Any, graph: bool, offset: int
) -> None:
    buffer = DeviceBuffer(IMAGES.nbytes + offset)
    canvases = DeviceArray(buffer.pointer + offset, IMAGES.shape, IMAGES.dtype, owner=buffer)
    with TrtSession(write_engine(), cuda_graph=graph) as session:
        host_cuda.log.clear()
        assert session.run(canvases, SIZES)["doubled"].tolist() == [[8, 6]]
        # canvases inside the GPU, sizes from the host; the result to the host
        engine_part = ["launch"] * graph + ["engine"]
        assert host_cuda.log == ["copy", "copy", *engine_part, "copy", "synchronize"]
        host_cuda.read(canvases)[...] = 7
        session.on_device.upload(canvases, SIZES - 1)
        assert host_cuda.read(session.on_device.inputs["images"]).min() == 7
        session.on_device.execute()
        assert host_cuda.read(session.on_device.outputs["doubled"]).tolist() == [[6, 4]]
        elsewhere = dataclasses.replace(canvases, device_index=1)
        with pytest.raises(ContractError, match=r"'images' is on DLPack device \(2, 1\)"):
            session.run(elsewhere, SIZES)
        with pytest.raises(ContractError, match="image_sizes are"):
            session.run(canvases, SIZES + 9)
    buffer.close()


def test_results_on_a_stream_of_ones_own_are_finished_on_the_callers_queued(
    write_engine: Any, host_cuda: Any, engine: Any, way: Any
) -> None:
    with TrtSession(write_engine(), **way.options) as session:
        images, sizes = way.to_gpu(IMAGES), way.to_gpu(SIZES)
        host_cuda.log.clear()
        doubled = session.run_on_device(images, sizes)["doubled"]
        assert ("synchronize" in host_cuda.log) == way.owns_stream
        said = doubled.__cuda_array_interface__
        assert said["data"] == (doubled.pointer, False)
        assert (said["version"], said["shape"], said["typestr"]) == (3, (1, 2), "<i4")
        if way.owns_stream:
            assert said["stream"] is None
        else:
            handle = way.options["stream"].handle
            assert said["stream"] == handle
            host_cuda.waits.clear()
            for reader in (None, 55, -1):  # the default stream, a stream, "do not wait"
                doubled.__dlpack__(stream=reader)
            assert host_cuda.waits == [(1, handle), (55, handle)]
        assert doubled.__dlpack_device__() == (2, 0)


@pytest.mark.parametrize(
    ("said", "waited_for"),
    [({"stream": 77}, 77), ({"stream": 2}, 2), ({"stream": None}, 1), ({}, 1)],
    ids=["stream", "per-thread", "none", "version 2"],
)
def test_the_producers_stream_is_waited_for(
    write_engine: Any, host_cuda: Any, engine: Any, said: dict[str, Any], waited_for: int
) -> None:
    with TrtSession(write_engine()) as session, session.lease() as context:
        given = {
            name: SimpleNamespace(
                __cuda_array_interface__={
                    "shape": array.shape,
                    "typestr": array.dtype.str,
                    "data": (array.pointer, False),
                    **said,
                }
            )
            for name, array in context.inputs.items()
        }
        context.run_on_device(given["images"], given["image_sizes"])
        assert host_cuda.waits == [(context.stream.handle, waited_for)] * 2


class DLPackArray:
    """As torch and CuPy have it; remembers which stream the reader named."""

    def __init__(self, array: DeviceArray, device: tuple[int, int] = (2, 0)) -> None:
        self._array, self._device = array, device
        self.readers: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: int) -> Any:
        self.readers.append(stream)
        return self._array.__dlpack__(stream=-1)


def test_dlpack_producers_are_told_the_readers_stream(write_engine: Any, engine: Any) -> None:
    with TrtSession(write_engine()) as session, session.lease() as context:
        images, sizes = (DLPackArray(array) for array in context.inputs.values())
        context.run_on_device(images, sizes)
        assert images.readers == sizes.readers == [context.stream.handle]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: [1, 2], "got a list; expected an array in GPU memory"),
        (lambda a: SIZES, r"is on DLPack device \(1, 0\); expected \(2, 0\)"),
        (lambda a: DLPackArray(a, (2, 1)), r"is on DLPack device \(2, 1\)"),
        (lambda a: dataclasses.replace(a, device_index=1), r"is on DLPack device \(2, 1\)"),
        (lambda a: dataclasses.replace(a, shape=(2,)), r"got \(2,\) int32; expected \(1, 2\)"),
        (lambda a: dataclasses.replace(a, dtype=np.dtype("u4")), "got .* uint32; expected .* int3"),
        (
            lambda a: dataclasses.replace(a, pointer=a.pointer + 4),
            "starts at address .*expected a multiple of 256",
        ),
        (
            lambda a: SimpleNamespace(
                __cuda_array_interface__={**a.__cuda_array_interface__, "strides": (8, 8)}
            ),
            r"has strides \(8, 8\) in bytes; expected \(8, 4\)",
        ),
        (
            lambda a: SimpleNamespace(
                __cuda_array_interface__={**a.__cuda_array_interface__, "typestr": "<x9"}
            ),
            "got <x9; expected a type of the contract",
        ),
    ],
    ids=[
        "list",
        "host",
        "other gpu",
        "ours elsewhere",
        "shape",
        "dtype",
        "alignment",
        "strides",
        "type",
    ],
)
def test_arrays_that_are_not_the_contracts_are_refused(
    write_engine: Any, engine: Any, change: Callable[[DeviceArray], Any], message: str
) -> None:
    with TrtSession(write_engine()) as session, session.lease() as context:
        sizes = change(context.inputs["image_sizes"])
        images = context.inputs["images"]
        with pytest.raises(ContractError, match=f"tiny: input 'image_sizes' {message}"):
            context.run_on_device(images, sizes)


def test_outputs_become_gpu_arrays_of_pycuda(write_engine: Any, engine: Any, pycuda: None) -> None:
    with TrtSession(write_engine()) as session, session.lease() as context:
        context.upload(IMAGES, SIZES)
        context.execute()
        assert gpu_array_from(context.outputs["doubled"]).get().tolist() == [[8, 6]]


def test_pycuda_that_is_missing_gives_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(SessionError, match=r'pip install "\.\[pycuda\]"'):
        gpu_array_from(DeviceArray(0, (1,), np.dtype("u1")))
