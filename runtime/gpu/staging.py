"""Memory on both sides of the way to the GPU, for arrays whose size changes between pictures.

Pictures come in any size, so memory grows to the largest so far and stays: allocating it, which
waits for the whole device, then happens a few times and not per picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import cuda

AnyArray = npt.NDArray[Any]


class Staging:
    """One array's GPU memory and page-locked host memory. Owns both until `close`.

    Whoever uses it orders the work: memory that a copy still reads must not be filled again.
    """

    def __init__(self) -> None:
        self._host: cuda.PinnedArray | None = None
        self._device: cuda.DeviceBuffer | None = None

    def room(self, nbytes: int) -> int:
        """Address of GPU memory of at least `nbytes`, whose bytes are anything."""
        if self._device is None or self._device.nbytes < nbytes:
            if self._device is not None:
                self._device.close()
            self._device = cuda.DeviceBuffer(nbytes)
        return self._device.pointer

    def upload(self, array: AnyArray, stream: cuda.Stream) -> int:
        """Queue a copy of `array` to the GPU; it may be changed at once. Returns its address."""
        host, pointer = self._pinned(array.shape, array.dtype), self.room(array.nbytes)
        np.copyto(host, array)
        rt = cuda.load_cuda()
        kind = rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        cuda.check(rt.cudaMemcpyAsync(pointer, host.ctypes.data, host.nbytes, kind, stream.handle))
        return pointer

    def download(
        self, shape: tuple[int, ...], dtype: npt.DTypeLike, stream: cuda.Stream
    ) -> AnyArray:
        """Wait for the stream and return what is in the memory of `room`, as a view.

        The view is good until this object is used again or closed.
        """
        host = self._pinned(shape, dtype)
        pointer = self.room(host.nbytes)
        rt = cuda.load_cuda()
        kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        cuda.check(rt.cudaMemcpyAsync(host.ctypes.data, pointer, host.nbytes, kind, stream.handle))
        stream.synchronize()
        return host

    def _pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> AnyArray:
        """Page-locked memory as an array."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if self._host is None or self._host.array.nbytes < nbytes:
            if self._host is not None:
                self._host.close()
            self._host = cuda.PinnedArray((nbytes,), np.uint8)
        return self._host.array[:nbytes].view(dtype).reshape(shape)

    def close(self) -> None:
        """Free both; may be called twice."""
        for owner in (self._host, self._device):
            if owner is not None:
                owner.close()
        self._host = self._device = None
