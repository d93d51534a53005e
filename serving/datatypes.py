"""How the Open Inference Protocol writes a contract's numbers; service and client share it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header: bytes of JSON, where tensors are behind it."""

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""By numpy's name; Triton's configurations have TYPE_ before it."""


def little_endian(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """The dtype as its bytes travel."""
    return np.dtype(dtype).newbyteorder("<")


def bytes_of(array: npt.NDArray[Any]) -> bytes:
    """A tensor's bytes: little-endian, row-major."""
    return array.astype(little_endian(array.dtype)).tobytes()
