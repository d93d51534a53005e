"""Eight bits of a value: INT8 and FP8 (E4M3), their scales, and stored weights in them.

    q = round(x / scale) to the nearest, ties to even;  x ~ q * scale;  the zero point is 0

Both are symmetric, as TensorRT takes them. A scale is the largest |x| over the largest number that
the format has, rounded up to FP16 where its tensor is FP16, so that no value leaves the format.

| format | largest | weights     | activations |
|--------|---------|-------------|-------------|
| int8   | 127     | per channel | per tensor  |
| fp8    | 448     | per tensor  | per tensor  |

FP8 weights have one scale, because TensorRT's FP8 convolutions take no other. Where weights are 0
throughout the scale is 1.

Source: ONNX, QuantizeLinear-19 and "Float stored in 8 bits"; TensorRT 10.6 release notes (scales
per channel for FP8 matrix products on Hopper alone); P. Micikevicius et al. 2022, FP8 formats for
deep learning, table 1.
"""

from __future__ import annotations

from typing import Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnx import TensorProto

EightBits = Literal["int8", "fp8"]
EIGHT_BITS: tuple[EightBits, ...] = ("int8", "fp8")

LARGEST: dict[EightBits, float] = {"int8": 127.0, "fp8": 448.0}
ELEMENT: dict[EightBits, int] = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
_SMALLEST_HALF = 2.0**-24

Floats = npt.NDArray[np.float32]


def scale_for(largest: npt.ArrayLike, precision: EightBits, *, half: bool) -> Floats:
    """The scales under which values up to `largest` fit, float32; representable in FP16 for it."""
    exact = np.asarray(largest, np.float64) / LARGEST[precision]
    scale = np.where(exact > 0, exact, 1.0)
    return _half_above(scale) if half else _float_above(scale)


def weight_scale(weight: Floats, axis: int, precision: EightBits, *, half: bool) -> Floats:
    """Of stored weights: (channels,) along `axis` for INT8, () for FP8."""
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    largest = np.abs(weight).max(axis=others if precision == "int8" else None, initial=0.0)
    return scale_for(largest, precision, half=half)


def quantized(values: Floats, scale: Floats, axis: int, precision: EightBits) -> bytes:
    """Stored values in eight bits each, as an ONNX tensor's raw data."""
    along = [1] * values.ndim
    if scale.ndim:
        along[axis] = -1
    ratio = values / scale.reshape(along if scale.ndim else ())
    limit = LARGEST[precision]
    if precision == "int8":
        return np.clip(np.round(ratio), -limit, limit).astype(np.int8).tobytes()
    return np.clip(ratio, -limit, limit).astype(ml_dtypes.float8_e4m3fn).tobytes()


def _half_above(scale: npt.NDArray[np.float64]) -> Floats:
    """The next FP16 value, no smaller than the smallest there is."""
    half = np.maximum(scale, _SMALLEST_HALF).astype(np.float16)
    above = np.where(half.astype(np.float64) < scale, np.nextafter(half, np.float16(np.inf)), half)
    return above.astype(np.float32)


def _float_above(scale: npt.NDArray[np.float64]) -> Floats:
    single = np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32)
    above = np.nextafter(single, np.float32(np.inf))
    return np.where(single.astype(np.float64) < scale, above, single).astype(np.float32)
