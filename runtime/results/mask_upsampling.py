"""Finer masks, interpolated as logits, the way FastMask was trained.

    probabilities (N, 40, 40) -> logits -> x4 bilinear -> sigmoid -> (N, 160, 160)

Its loss is taken after a fixed x4 upsampling of logits, so upsampling probabilities instead would
move outlines. It is done here, for the few masks that are pasted at a time, and not in the graph,
which would write 16 times the bytes. Bilinear with cell centres at +.5 and edges clamped: as
torch's interpolate and OpenCV's INTER_LINEAR (the original's zeros outside differ in the outer 2 of
160 cells).

By a whole factor, the weights repeat with every cell, so an axis is as many weighted sums of
neighbours as the factor, with no matrix product (`masks` says why).

Source: Hu et al. 2017, FastMask, and its published network (sigmoid after the upsampling).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ContractError

Float = npt.NDArray[np.float32]

LEAST = np.float32(np.finfo(np.float32).tiny)
GREATEST = np.float32(1 - 2**-24)
"""Probabilities that have saturated at 0 or 1 become these: the outermost with a finite logit."""
ROUNDING = 1e-5
"""ONNX Runtime's sigmoid gives up to 1 + 2^-23."""


def upsampled(masks: Float, factor: int) -> Float:
    """Finer masks, interpolated as logits.

    Args:
        masks: (N, h, w) float32 probabilities in [0, 1]; 0 and 1 may have saturated.
        factor: at least 1; 1 gives `masks` themselves.

    Returns:
        (N, factor * h, factor * w) float32 probabilities.

    Raises:
        ContractError: a value is NaN or outside [0, 1].
    """
    if factor == 1:
        return masks
    if not ((masks >= -ROUNDING) & (masks <= 1 + ROUNDING)).all():  # written so that NaN fails
        raise ContractError(
            f"masks: the artefact gave values from {masks.min()} to {masks.max()}; expected "
            "probabilities from 0 to 1. If it is FP16, export it in FP32 and compare."
        )
    wider = _turned(_stretched(_turned(_logits(masks)), factor))
    finer = _stretched(wider, factor)
    _into_probabilities(finer)
    return finer


def _logits(probabilities: Float) -> Float:
    kept = np.clip(probabilities, LEAST, GREATEST)
    return np.asarray(np.log(kept) - np.log1p(-kept), dtype=np.float32)


def _turned(values: Float) -> Float:
    """(N, h, w) to (N, w, h), copied, so that the sums run along memory."""
    return np.ascontiguousarray(values.swapaxes(1, 2))


def _stretched(values: Float, factor: int) -> Float:
    """(N, h, w) to (N, factor * h, w), bilinear along h, edges clamped."""
    count, rows, columns = values.shape
    finer = np.empty((count, rows, factor, columns), dtype=np.float32)
    steps = np.diff(values, axis=1, prepend=values[:, :1], append=values[:, -1:])  # (N, h + 1, w)
    for phase in range(factor):
        way = (phase + 0.5) / factor - 0.5  # from the cell's centre, in cells
        towards = steps[:, 1:] if way > 0 else steps[:, :-1]
        np.multiply(towards, np.float32(way), out=finer[:, :, phase])
        finer[:, :, phase] += values
    return finer.reshape(count, rows * factor, columns)


def _into_probabilities(logits: Float) -> None:
    """Sigmoid in place; what `_logits` gives overflows nowhere."""
    np.negative(logits, out=logits)
    np.exp(logits, out=logits)
    logits += 1
    np.reciprocal(logits, out=logits)
