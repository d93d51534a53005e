"""DLPack capsules written and read with ctypes: an array handed over without a copy.

A capsule is a Python object named "dltensor" around a C structure: address, shape, strides, type
and device, and a function that releases the structure. Whoever takes the array renames the capsule
and calls that function when done.

    producer --capsule_from--> capsule --torch, CuPy, JAX, numpy.from_dlpack--> their array
    their array --__dlpack__--> capsule --tensor_from--> address and shape

That function may be called from any thread, and while an exception is on its way up, which Python
code would swallow. So it is `PyMem_RawFree`, the structure and its shape are one block, and nothing
of Python's hangs on it: the memory itself stays its owner's. A capsule that nobody takes leaves its
block, some 100 bytes, behind. Nothing here is of CUDA: the tests pass CPU memory to numpy by it.
Source: DLPack 0.8 `dlpack.h` (the form without a version, which every library still takes) and its
Python specification.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CPU, CUDA = 1, 2
"""`kDLCPU`, `kDLCUDA`: the first of the two numbers that name a device; the second is its index."""

_NAME = b"dltensor"
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
"""numpy's kind -> `DLDataTypeCode`."""
_KINDS = {code: kind for kind, code in _CODES.items()}


_Dims = ctypes.POINTER(ctypes.c_int64)


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("index", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", _Dims),
        ("strides", _Dims),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


@dataclass(frozen=True)
class Tensor:
    """What a capsule says of an array."""

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    """numpy's name, or "dtype code C of B bits" where numpy has none."""
    strides: tuple[int, ...] | None
    """In elements; None means C-contiguous."""
    device: tuple[int, int]


# Prototypes of our own: those of `ctypes.pythonapi` are shared by every library of the process.
_new_capsule = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))
_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_allocate = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(
    ("PyMem_RawMalloc", ctypes.pythonapi)
)


def capsule_from(
    pointer: int, shape: tuple[int, ...], dtype: npt.DTypeLike, device: tuple[int, int]
) -> Any:
    """A capsule around C-contiguous memory, which has to outlive whoever takes it.

    Args:
        pointer: its address.
        shape: of the array.
        dtype: an integer, float or bool type of numpy's.
        device: `(CPU or CUDA, index)`.
    """
    kind, dims = np.dtype(dtype), ctypes.c_int64 * len(shape)
    head, length = ctypes.sizeof(_ManagedTensor), ctypes.sizeof(dims)
    block = _allocate(head + 2 * length)
    if block is None:
        raise MemoryError
    dims.from_address(block + head)[:] = list(shape)
    dims.from_address(block + head + length)[:] = list(contiguous_strides(shape))
    managed = _ManagedTensor.from_address(block)
    managed.tensor = _Tensor(
        data=pointer,
        device=_Device(*device),
        ndim=len(shape),
        dtype=_DataType(_CODES[kind.kind], 8 * kind.itemsize, 1),
        shape=ctypes.cast(block + head, _Dims),
        strides=ctypes.cast(block + head + length, _Dims),
        byte_offset=0,
    )
    managed.context = None
    managed.deleter = ctypes.cast(ctypes.pythonapi.PyMem_RawFree, ctypes.c_void_p)
    return _new_capsule(block, _NAME, None)


def tensor_from(capsule: object) -> Tensor:
    """Read a capsule without taking it: the array stays its producer's while the capsule lives.

    Raises:
        ValueError: it is no DLPack capsule without a version, or was taken before.
    """
    tensor = _ManagedTensor.from_address(_pointer_in(capsule, _NAME)).tensor
    return Tensor(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        shape=tuple(tensor.shape[: tensor.ndim]),
        dtype=_dtype_name(tensor.dtype),
        strides=tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None,
        device=(tensor.device.type, tensor.device.index),
    )


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a C-contiguous array, in elements."""
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


def _dtype_name(dtype: Any) -> str:
    kind = _KINDS.get(dtype.code)
    if kind is None or dtype.lanes != 1 or dtype.bits % 8:
        return f"dtype code {dtype.code} of {dtype.bits} bits"
    name = "bool" if kind == "b" else f"{kind}{dtype.bits // 8}"
    return np.dtype(name).name
