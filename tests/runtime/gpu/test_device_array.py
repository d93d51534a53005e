"""Arrays on a GPU that is not current, through the stand-in of conftest."""

from __future__ import annotations

import numpy as np
import pytest

from maskrt.runtime.contract import TensorSpec
from maskrt.runtime.errors import SessionError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.device_array import DeviceArray, device_array_from

from .conftest import LateCuda, OnGpu, noise

SHAPE = (2, 3, 3)


def array_on(device: int) -> tuple[DeviceArray, cuda.Stream]:
    """An array still being written on a stream of its own."""
    with cuda.using_device(device):
        stream, buffer = cuda.Stream(), cuda.DeviceBuffer(18)
    dtype = np.dtype("u1")
    return DeviceArray(buffer.pointer, SHAPE, dtype, device, stream, buffer), stream


@pytest.mark.parametrize("current", [0, 1])
def test_a_reader_waits_on_the_arrays_gpu_whichever_is_current(
    late: LateCuda, current: int
) -> None:
    array, stream = array_on(1)
    with cuda.using_device(current):
        for reader, handle in ((None, cuda.LEGACY_STREAM), (55, 55)):
            late.waits.clear()
            array.__dlpack__(stream=reader)
            assert [late.waits[0][1], late.waits[1][0]] == [stream.handle, handle]
        assert late.current == current


@pytest.mark.parametrize("theirs", [True, False], ids=["another library's", "ours"])
def test_a_producer_is_waited_for_on_the_readers_gpu(late: LateCuda, theirs: bool) -> None:
    array, _ = array_on(1)
    with cuda.using_device(1):
        reader = cuda.Stream()
    given = OnGpu(late, noise(*SHAPE)) if theirs else array
    taken = device_array_from(given, TensorSpec("x", SHAPE, "uint8"), "tiny", reader, 1)
    assert late.waits[1][0] == reader.handle
    assert (taken.shape, late.current) == (SHAPE, 0)


def test_an_event_of_another_gpu_is_what_cuda_refuses(late: LateCuda) -> None:
    """So the stand-in would see it."""
    _, stream = array_on(1)
    with pytest.raises(SessionError, match="cudaErrorInvalidResourceHandle"):
        cuda.wait_for(7, stream.handle, 0)
