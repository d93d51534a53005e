"""CPU memory goes to numpy through the code that hands out GPU memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.gpu import dlpack
from maskrt.runtime.gpu.device_array import DeviceArray


class OnHost:
    """Host memory that only speaks DLPack."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return (dlpack.CPU, 0)

    def __dlpack__(self, **_: Any) -> Any:
        array = self.array
        device = self.__dlpack_device__()
        return dlpack.capsule_from(array.ctypes.data, array.shape, array.dtype, device)


ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.arange(6, dtype=np.uint8).reshape(3, 2),
    np.array([[-1, 2]], np.int32),
    np.array([1.5], np.float16),
    np.array(7, np.int64),
    np.array([True, False]),
    np.zeros((0, 4), np.float32),
]
IDS = [f"{array.dtype}-{array.ndim}d" for array in ARRAYS]


@pytest.mark.parametrize("array", ARRAYS, ids=IDS)
def test_numpy_reads_the_capsule_without_a_copy(array: np.ndarray) -> None:
    source = array.copy()
    found = np.from_dlpack(OnHost(source))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    if source.size:
        assert np.shares_memory(found, source)


@pytest.mark.parametrize("array", ARRAYS, ids=IDS)
def test_capsules_of_numpy_are_read(array: np.ndarray) -> None:
    source = array.copy()
    tensor = dlpack.tensor_from(source.__dlpack__())
    assert (tensor.shape, tensor.dtype) == (source.shape, source.dtype.name)
    assert tensor.device == (dlpack.CPU, 0)
    if source.size:
        assert tensor.pointer == source.ctypes.data


def test_strides_are_told() -> None:
    source = np.zeros((4, 6), np.int32)[:, ::2]
    assert dlpack.tensor_from(source.__dlpack__()).strides == (6, 2)


def test_what_a_reader_took_it_releases() -> None:
    owner = OnHost(np.arange(4.0))
    np.from_dlpack(owner)
    tracemalloc.start()  # sees `PyMem_RawMalloc` too
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            np.from_dlpack(owner)
        taken = tracemalloc.get_traced_memory()[0] - before
        left = [owner.__dlpack__() for _ in range(1000)]
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 10_000
    assert held - taken > 80_000  # the measure sees what is not released
    assert len(left) == 1000


def test_an_exception_on_its_way_survives_an_arrays_end() -> None:
    owner = OnHost(np.arange(4.0))

    def refuse(_: np.ndarray) -> None:
        raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason"):
        refuse([np.from_dlpack(owner), owner.__dlpack__()])  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="the reason"):
        [refuse(np.from_dlpack(owner)) for _ in range(2)]


def test_a_capsule_is_taken_once() -> None:
    capsule = OnHost(np.arange(4.0)).__dlpack__()

    class Second:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (dlpack.CPU, 0)

        def __dlpack__(self, **_: Any) -> Any:
            return capsule

    np.from_dlpack(Second())
    with pytest.raises(ValueError, match="PyCapsule"):
        dlpack.tensor_from(capsule)


def test_what_is_no_capsule_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="PyCapsule"):
        dlpack.tensor_from("dltensor")


def test_numpy_cannot_take_gpu_memory() -> None:
    array = DeviceArray(256, (2,), np.dtype("f4"))
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(array)


@pytest.mark.parametrize("asked", [{"copy": True}, {"dl_device": (dlpack.CPU, 0)}])
def test_copies_and_other_devices_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(BufferError, match="Copy the array after taking it"):
        DeviceArray(256, (2,), np.dtype("f4")).__dlpack__(**asked)
