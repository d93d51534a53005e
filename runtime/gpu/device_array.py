"""Arrays in GPU memory, in and out without a copy, for PyCUDA, torch, CuPy, JAX and Numba alike.

In: anything with `__dlpack__` or `__cuda_array_interface__`, checked against the contract. Out: a
`DeviceArray`, which has both. DLPack is asked first, because it tells on which stream the reader
will work, so that its producer can order the two; torch's `__cuda_array_interface__` names no
stream at all.
Source: CUDA Array Interface version 3 (Numba); DLPack's Python specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contract import TensorSpec
from ..errors import ContractError
from . import cuda, dlpack

ALIGNMENT_BYTES = 256
"""What TensorRT asks of every address it is given; see `require_alignment`."""


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """C-contiguous GPU memory as others can read it; numpy cannot: copy it to the host first.

    Arrays made of it are views that keep nothing alive: a session's end with the session.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device_index: int = 0
    stream: cuda.Stream | None = None
    """Where its contents may still be being written; None: they are finished."""
    owner: object = None
    """What keeps the memory alive."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3; readers wait for its `stream`."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": None if self.stream is None else self.stream.handle,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """`(kDLCUDA, index)`."""
        return (dlpack.CUDA, self.device_index)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule that the reader may use on `stream` (None: the default one; -1: now).

        Raises:
            BufferError: a copy or another device was asked for.
        """
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(
                f"DeviceArray: a copy on device {dl_device} was asked for; expected none, on "
                f"{self.__dlpack_device__()}. Copy the array after taking it."
            )
        if self.stream is not None and stream != -1:
            reader = stream or cuda.LEGACY_STREAM
            cuda.wait_for(reader, self.stream.handle, self.device_index)
        return dlpack.capsule_from(self.pointer, self.shape, self.dtype, self.__dlpack_device__())


def device_array_from(
    array: Any, spec: TensorSpec, variant: str, stream: cuda.Stream, device_index: int
) -> DeviceArray:
    """Take a caller's array as the input `spec`; work queued on `stream` then sees its contents.

    Args:
        array: has `__dlpack__` or `__cuda_array_interface__`; kept alive by the result.
        spec: name, shape and dtype it must have.
        variant: names the artefact in errors.
        stream: the reader's; it waits for the producer's.
        device_index: the GPU it must be on.

    Raises:
        ContractError: it is no GPU array, on another device, of another shape or dtype, or not
            C-contiguous.
    """
    where = f"{variant}: input '{spec.name}'"
    if isinstance(array, DeviceArray):
        found = _from_ours(array, where, stream, device_index)
    elif hasattr(array, "__dlpack__"):
        found = _from_dlpack(array, where, stream, device_index)
    elif hasattr(array, "__cuda_array_interface__"):
        found = _from_interface(array, where, stream, device_index)
    else:
        raise ContractError(
            f"{where} got a {type(array).__name__}; expected an array in GPU memory with "
            "__dlpack__ or __cuda_array_interface__. Use run() for arrays in host memory."
        )
    if (found.shape, found.dtype.name) != (spec.shape, spec.dtype):
        raise ContractError(
            f"{where} got {found.shape} {found.dtype.name}; expected {spec.shape} {spec.dtype}. "
            "Make the array as the contract says."
        )
    return found


def require_alignment(array: DeviceArray, spec: TensorSpec, variant: str) -> None:
    """Check that TensorRT can read an array where it is; kernels and copies take any address.

    Raises:
        ContractError: it starts between two multiples of `ALIGNMENT_BYTES`, as a view may.
    """
    if array.pointer % ALIGNMENT_BYTES:
        raise ContractError(
            f"{variant}: input '{spec.name}' starts at address {array.pointer:#x}; expected a "
            f"multiple of {ALIGNMENT_BYTES}, as TensorRT asks. Copy it into an array of its own."
        )


def _from_ours(
    array: DeviceArray, where: str, stream: cuda.Stream, device_index: int
) -> DeviceArray:
    _require_device(where, array.__dlpack_device__(), device_index)
    if array.stream is not None:
        cuda.wait_for(stream.handle, array.stream.handle, device_index)
    return array


def _from_dlpack(array: Any, where: str, stream: cuda.Stream, device_index: int) -> DeviceArray:
    _require_device(where, array.__dlpack_device__(), device_index)
    capsule = array.__dlpack__(stream=stream.handle)
    tensor = dlpack.tensor_from(capsule)
    dtype = _dtype(where, tensor.dtype)
    if tensor.strides is not None:
        strides = tuple(step * dtype.itemsize for step in tensor.strides)
        _require_contiguous(where, tensor.shape, strides, dtype.itemsize)
    return DeviceArray(tensor.pointer, tensor.shape, dtype, device_index, owner=(array, capsule))


def _from_interface(array: Any, where: str, stream: cuda.Stream, device_index: int) -> DeviceArray:
    """The interface names no device: its memory is taken to be on the session's."""
    said = array.__cuda_array_interface__
    shape = tuple(int(length) for length in said["shape"])
    dtype = _dtype(where, said["typestr"])
    if said.get("strides") is not None:
        _require_contiguous(where, shape, tuple(said["strides"]), dtype.itemsize)
    # "No stream" should mean that nothing is pending, but PyCUDA says it while its kernels are
    # still queued on the default stream, which a non-blocking stream does not wait for.
    cuda.wait_for(stream.handle, said.get("stream") or cuda.LEGACY_STREAM, device_index)
    return DeviceArray(int(said["data"][0]), shape, dtype, device_index, owner=array)


def _require_device(where: str, device: tuple[int, int], device_index: int) -> None:
    kind, index = (int(number) for number in device)  # torch's are an enumeration's
    if (kind, index) != (dlpack.CUDA, device_index):
        raise ContractError(
            f"{where} is on DLPack device ({kind}, {index}); expected ({dlpack.CUDA}, "
            f"{device_index}), the session's GPU. Copy it there, or use run() for arrays in host "
            "memory."
        )


def _dtype(where: str, name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError as err:
        raise ContractError(
            f"{where} got {name}; expected a type of the contract, which numpy has. "
            "Make the array as the contract says."
        ) from err


def _require_contiguous(
    where: str, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int
) -> None:
    """`strides` in bytes; those of a dimension of length 1 mean nothing."""
    expected = tuple(step * itemsize for step in dlpack.contiguous_strides(shape))
    both = zip(shape, strides, expected, strict=True)
    if any(step != wanted for length, step, wanted in both if length != 1):
        raise ContractError(
            f"{where} has strides {strides} in bytes; expected {expected}, C-contiguous. "
            "Make a contiguous copy of it."
        )
