"""Tensors of the protocol: numbers in JSON, or bytes behind it.

    body  = JSON | bytes of the tensors that say "binary_data_size", in their order
    Inference-Header-Content-Length = bytes of JSON, where there are any behind it

Bytes are little-endian and row-major. FP16 has no form in JSON.

Source: KServe, Open Inference Protocol v2, "Tensor Data"; Triton, "Binary Tensor Data Extension".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datatypes import DATATYPES, little_endian
from ..refusals import RefusedError
from .messages import TensorIn

Array = npt.NDArray[Any]


def array_of(tensor: TensorIn, dtype: str, rest: bytes) -> tuple[Array, bytes]:
    """One input tensor as an array, and the bytes behind its own.

    Args:
        tensor: as the request describes it.
        dtype: numpy's name of what the model takes.
        rest: the body from where its bytes would begin.

    Raises:
        RefusedError: 400, another data type, or not as much data as its shape says.
    """
    if tensor.datatype != DATATYPES[dtype]:
        raise _refused(tensor, f"data type {tensor.datatype[:20]}", DATATYPES[dtype])
    count, size = math.prod(tensor.shape), tensor.parameters.binary_data_size
    if size is None:
        return _from_json(tensor, dtype), rest
    if tensor.data is not None:
        raise _refused(tensor, "data and binary_data_size", "one of the two")
    expected = count * np.dtype(dtype).itemsize
    if size != expected or len(rest) < size:
        found = f"{size} bytes, {min(len(rest), size)} of them in the body"
        raise _refused(tensor, found, f"{expected}")
    flat = np.frombuffer(rest[:size], little_endian(dtype))
    return flat.astype(dtype).reshape(tensor.shape), rest[size:]


def _from_json(tensor: TensorIn, dtype: str) -> Array:
    try:
        array = np.asarray(tensor.data)
        exact = array.astype(dtype)
    except (ValueError, TypeError, OverflowError) as err:
        raise _refused(tensor, "data that are no table of numbers", dtype) from err
    if array.size != math.prod(tensor.shape):
        raise _refused(tensor, f"{array.size} numbers", f"{math.prod(tensor.shape)} by its shape")
    if array.dtype.kind not in "iubf" or (exact.dtype.kind != "f" and (exact != array).any()):
        raise _refused(tensor, "numbers out of range", dtype)
    return exact.reshape(tensor.shape)


def _refused(tensor: TensorIn, found: str, expected: str) -> RefusedError:
    return RefusedError(
        400, f"input '{tensor.name[:40]}': {found}; expected {expected}. Ask /v2/models/NAME."
    )
