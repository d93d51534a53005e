"""Reads the weights out of a binary caffemodel: protobuf's wire format, and nothing of Caffe.

A NetParameter holds layers (field 100, or field 2 in files before 2015), a layer its name (1, old:
4) and blobs (7, old: 6), a blob its shape (7; old: four sizes in 1 to 4) and its floats (5, as
doubles in 8). Everything else is skipped. Nothing in such a file can ask to be run; a length that
leaves the file is an error before anything is allocated.

Source: protobuf's encoding guide; caffe.proto of voidrank/caffe-fm at 2863b2a.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError
from ...runtime.files import require_file

Blob = npt.NDArray[np.float32]
Layers = dict[str, list[Blob]]
Field = tuple[int, int | memoryview]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
LAYER, OLD_LAYER = 100, 2
MOST_DIMS = 8
"""Caffe's own limit is 32; no weight of a network has more than five."""


class _MalformedError(Exception):
    """The bytes are no protobuf message."""


def read_caffemodel(path: Path) -> Layers:
    """Every layer that holds weights.

    Returns:
        Layer name -> its blobs in order, float32.

    Raises:
        InputError: no such file, or no whole caffemodel.
    """
    require_file(path, "trained weights", (".caffemodel",))
    try:
        layers = dict(_layers(memoryview(path.read_bytes())))
    except (_MalformedError, UnicodeDecodeError, OSError) as err:
        raise InputError(
            f"{path}: not a whole caffemodel ({err}); expected Caffe's binary NetParameter. "
            "Download it again."
        ) from err
    if not layers:
        raise InputError(
            f"{path}: holds no layer with weights; expected a trained network. "
            "Is it a network definition?"
        )
    return layers


def _layers(message: memoryview) -> Iterator[tuple[str, list[Blob]]]:
    for number, value in _fields(message):
        if number not in (LAYER, OLD_LAYER) or not isinstance(value, memoryview):
            continue
        name_field, blob_field = (1, 7) if number == LAYER else (4, 6)
        name, blobs = "", []
        for inner, part in _fields(value):
            if inner == name_field and isinstance(part, memoryview):
                name = bytes(part).decode()
            elif inner == blob_field and isinstance(part, memoryview):
                blobs.append(_blob(part))
        if blobs:
            yield name, blobs


def _blob(message: memoryview) -> Blob:
    old_shape = [0, 0, 0, 0]
    shape: list[int] | None = None
    parts: list[Blob] = []
    for number, value in _fields(message):
        if number <= len(old_shape) and isinstance(value, int):
            old_shape[number - 1] = value
        elif isinstance(value, memoryview) and number == 7:
            shape = _dims(value)
        elif isinstance(value, memoryview) and number in (5, 8):
            parts.append(_numbers(value, np.dtype("<f4" if number == 5 else "<f8")))
    shape = shape if shape is not None else old_shape
    data = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not 0 < len(shape) <= MOST_DIMS or data.size != math.prod(shape):
        raise _MalformedError(f"a blob of shape {shape[:MOST_DIMS]} holds {data.size} numbers")
    if not data.size:
        raise _MalformedError("a blob without numbers")
    return data.reshape(shape)


def _numbers(value: memoryview, kind: np.dtype[np.floating]) -> Blob:
    if len(value) % kind.itemsize:
        raise _MalformedError(f"{len(value)} bytes of {kind.name} numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold is no finite weight, said later
        return np.frombuffer(value, kind).astype(np.float32)


def _dims(message: memoryview) -> list[int]:
    dims: list[int] = []
    for number, value in _fields(message):
        if number != 1:
            continue
        if isinstance(value, int):
            dims.append(value)
            continue
        at = 0
        while at < len(value):
            dim, at = _varint(value, at)
            dims.append(dim)
    return dims


def _fields(message: memoryview) -> Iterator[Field]:
    """Number and value of each field: an int, or the bytes of all other kinds."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == LENGTH:
            size, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise _MalformedError(f"field {number} of kind {kind}")
        if number == 0 or at + size > len(message):
            raise _MalformedError(f"field {number} of {size} bytes, {len(message) - at} are left")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise _MalformedError("a number without an end")
