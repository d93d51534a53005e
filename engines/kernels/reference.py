"""What the custom operators compute: the specification, and both in numpy's float64.

Every implementation (torch in `train`, the ONNX function bodies in `export`, the Triton kernels
here) is tested against this file.

# RoIAlign

    features (B, C, H, W) float32 or float16, rois (B, K, 4) float32  ->  (B * K, C, Q, Q)

Row b of `rois` holds boxes of image b, so no batch index exists and the K boxes of image 0 come
first in the output. The output has the features' dtype. K may be 0.

**Frame.** A box (x0, y0, x1, y1) is in canvas pixels. With `scale` cells per pixel and cell i
centred at i (*aligned*: pixel and cell centres are both at +0.5), its corners are

    x' = x * scale - 0.5        y' = y * scale - 0.5

**Samples.** The box is cut into P x P bins of (w, h) = (x1' - x0', y1' - y0') / P. A bin has Sx
samples along x and Sy along y; the s-th of bin p lies at x0' + (p + (s + 0.5) / Sx) * w, and so
along y. Sx = Sy = S where the sampling ratio S is at least 1. At 0 it is *adaptive*: Sx = ceil(w),
Sy = ceil(h), not below 0 and not above ceil(max(H, W) / P), which is what a box as large as the map
has: no box inside the picture is affected, and no other can make a run longer.

**Boundary.** A sample with x < -1, x > W, y < -1 or y > H is 0. Any other is clamped to
[0, W - 1] x [0, H - 1] and interpolated bilinearly between the four cells around it.

**Bins.** A bin is the mean of its Sx * Sy samples, those outside counting as 0. With a bin step q
only bins 0, q, 2 q, .. of a row and of a column are made, Q = ceil(P / q) of them: what a
convolution of stride q without padding reads of the P bins. Q = P otherwise.

**Odd boxes.** Nothing is clipped or swapped. A box without an extent has all its samples in one
place; one with x1 < x0 is mirrored. With adaptive sampling neither has samples: its bins are 0. A
box with NaN or infinity is refused here; a kernel cannot refuse, and gives 0.

**Precision.** Boxes, positions, weights and sums are FP32, whatever the features are: half has 11
bits, which above 1024 pixels is not even whole pixels. The only half are features and output.

Weights factor into rows and columns, so with Wx (Q, W) and Wy (Q, H) the mean weights of the bins

    Y[k, c] = Wy[k] . X[c] . Wx[k]^T

which is how torch, the ONNX body and the kernels compute it; here it is sample by sample.
Source: Detectron2 ROIAlignV2 (layers/csrc/ROIAlign at 02b5c4e2, `aligned`), the same as ONNX
RoiAlign-16 with `half_pixel` and `avg`, but for the limit and the bin step.

# PyramidRoiAlign

    atlas (B, C, R, V) float32 or float16, rois (B, K, 4) float32  ->  (B * K, C, P, P)

The atlas holds the L levels of a pyramid, maps of (h, w) cells, finest first, below each other at
its left side: V is the largest w. A row of zeros is between two levels, so R is the sum of h and
L - 1; zeros are on the right of narrower ones. A level has a stride in canvas pixels. Every box is
pooled from one level, as in RoIAlign with scale = 1 / stride, that level's H and W, and bin step 1.

**Level.** A box's area is (x1 - x0) * (y1 - y0) in float32. Its level is how many of the L - 1
rising *borders*, float32 areas too, it reaches; one equal to a border does, NaN reaches none. They
stand for a library's logarithm and its rounding, see train/networks/pyramid/roi_align.py.

**Not aligned.** Without `aligned` corners are x * scale, no half taken off, and a box is at least
one cell wide and high: x1' = max(x1', x0' + 1), which also makes a mirrored box such a cell.
Source: Detectron2 modeling/poolers.py at 02b5c4e2; torchvision ops/poolers.py 0.29.1, whose
RoIAlign is not aligned.

# WindowAlign

    pyramid (B, N, C) float32 or float16, index (B, K) int64  ->  (B * K, size, size, C)

The pyramid is *packed*: L levels of (h, w) cells, each flattened row by row, one after the other;
N is the sum of h * w. A level has (h + 1) (w + 1) windows; window (r, c) covers its rows r - size/2
.. r + size/2 - 1 and columns c - size/2 .. c + size/2 - 1. Windows are numbered row by row, level
after level. Cells outside the level are 0; everything else is copied, bit for bit. Channels are
last. `size` is even (FastMask: 10). An index that is no window is refused here; a kernel gives 0.
Source: voidrank/caffe-fm sliding_window_layer.cu at 2863b2a.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ContractError

Float = npt.NDArray[np.float64]
Real = npt.NDArray[np.floating[Any]]


def roi_align(
    features: Real,
    rois: Real,
    output_size: int,
    spatial_scale: float,
    sampling_ratio: int,
    bin_step: int = 1,
) -> Float:
    """RoIAlign sample by sample.

    Args:
        features: (B, C, H, W), H and W at least 1.
        rois: (B, K, 4) xyxy canvas pixels.
        output_size: P, bins per side.
        spatial_scale: cells per canvas pixel.
        sampling_ratio: samples per bin and side; 0 is adaptive.
        bin_step: q, every q-th bin is made.

    Returns:
        (B * K, C, Q, Q), boxes of image 0 first.

    Raises:
        ContractError: a box has a coordinate that is not finite.
    """
    if not np.isfinite(rois).all():
        raise ContractError(
            f"rois: {np.count_nonzero(~np.isfinite(rois))} coordinates are NaN or infinite; "
            "expected finite canvas pixels. Find the layer that made them."
        )
    boxes = rois.astype(np.float64) * spatial_scale - 0.5
    wide = features.astype(np.float64)
    side = -(-output_size // bin_step)
    bins = np.zeros((*rois.shape[:2], features.shape[1], side, side))
    for image, slot in np.ndindex(*rois.shape[:2]):
        pooled = _pool(wide[image], boxes[image, slot], output_size, sampling_ratio)
        bins[image, slot] = pooled[:, ::bin_step, ::bin_step]
    return bins.reshape(-1, *bins.shape[2:])


def pyramid_roi_align(
    atlas: Real,
    rois: Real,
    output_size: int,
    levels: Sequence[tuple[int, int]],
    strides: Sequence[int],
    sampling_ratio: int,
    borders: Sequence[float],
    aligned: bool = True,
) -> Float:
    """Each box pooled from its level, sample by sample.

    Args:
        atlas: (B, C, R, V).
        rois: (B, K, 4) float32 xyxy canvas pixels.
        output_size: P, bins per side.
        levels: height and width in cells of each level, finest first.
        strides: canvas pixels per cell of each level.
        sampling_ratio: samples per bin and side; 0 is adaptive.
        borders: L - 1 rising areas, px^2.
        aligned: whether pixel and cell centres are both at +0.5.

    Returns:
        (B * K, C, P, P), boxes of image 0 first.
    """
    tops = np.cumsum([0, *(height + 1 for height, _ in levels)])
    wide = atlas.astype(np.float64)
    bins = np.zeros((*rois.shape[:2], atlas.shape[1], output_size, output_size))
    for image, slot in np.ndindex(*rois.shape[:2]):
        level = box_level(rois[image, slot], borders)
        height, width = levels[level]
        cells = wide[image, :, tops[level] : tops[level] + height, :width]
        box = rois[image, slot].astype(np.float64) / strides[level] - 0.5 * aligned
        if not aligned:
            box[2:] = np.maximum(box[2:], box[:2] + 1)
        bins[image, slot] = _pool(cells, box, output_size, sampling_ratio)
    return bins.reshape(-1, *bins.shape[2:])


def box_level(box: Real, borders: Sequence[float]) -> int:
    """The level of one float32 box (4,), 0 the finest."""
    width, height = box[2:] - box[:2]
    return int(np.count_nonzero(width * height >= np.array(borders, np.float32)))


def _pool(image: Float, box: Float, bins: int, ratio: int) -> Float:
    """(C, H, W) and one box in cells -> (C, P, P)."""
    x0, y0, x1, y1 = box
    most = -(-max(image.shape[1:]) // bins)
    columns = sample_count(x1 - x0, bins, ratio, most)
    rows = sample_count(y1 - y0, bins, ratio, most)
    if rows == 0 or columns == 0:
        return np.zeros((len(image), bins, bins))
    x = x0 + (np.arange(bins * columns) + 0.5) / columns * ((x1 - x0) / bins)
    y = y0 + (np.arange(bins * rows) + 0.5) / rows * ((y1 - y0) / bins)
    samples = _interpolate(image, y, x)
    return np.asarray(samples.reshape(-1, bins, rows, bins, columns).mean((2, 4)))


def sample_count(extent: float, bins: int, ratio: int, most: int) -> int:
    """Samples per bin along one side of a box of `extent` cells; at most `most` if adaptive."""
    return ratio or int(np.clip(np.ceil(extent / bins), 0, most))


def _interpolate(image: Float, y: Float, x: Float) -> Float:
    """(C, H, W) at every y and x -> (C, len(y), len(x)), 0 outside."""
    height, width = image.shape[1:]
    inside = ((y >= -1) & (y <= height))[:, None] & ((x >= -1) & (x <= width))
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = y.astype(np.int64), x.astype(np.int64)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dx, dy = x - left, (y - top)[:, None]
    upper, lower = image[:, top], image[:, bottom]  # (C, len(y), W)
    upper = upper[:, :, left] * (1 - dx) + upper[:, :, right] * dx
    lower = lower[:, :, left] * (1 - dx) + lower[:, :, right] * dx
    return np.asarray((upper * (1 - dy) + lower * dy) * inside)


def window_align(
    pyramid: Real, index: npt.NDArray[np.int64], levels: Sequence[tuple[int, int]], size: int = 10
) -> Real:
    """Copy windows out of a packed pyramid, one by one.

    Args:
        pyramid: (B, N, C).
        index: (B, K) window numbers.
        levels: height and width in cells of each level, N cells in all.
        size: cells per side of a window, even.

    Returns:
        (B * K, size, size, C) of the pyramid's dtype, windows of image 0 first.

    Raises:
        ContractError: an index is not the number of a window.
    """
    batch, slots = index.shape
    windows = np.zeros((batch, slots, size, size, pyramid.shape[2]), pyramid.dtype)
    for image, slot in np.ndindex(batch, slots):
        start, (height, width), row, column = _find(int(index[image, slot]), levels)
        level = pyramid[image, start : start + height * width].reshape(height, width, -1)
        padded = np.pad(level, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
        windows[image, slot] = padded[row : row + size, column : column + size]
    return windows.reshape(-1, size, size, pyramid.shape[2])


def _find(window: int, levels: Sequence[tuple[int, int]]) -> tuple[int, tuple[int, int], int, int]:
    """A window's level (first cell and shape), row and column."""
    start, local = 0, window
    for height, width in levels:
        count = (height + 1) * (width + 1)
        if 0 <= local < count:
            return start, (height, width), *divmod(local, width + 1)
        start, local = start + height * width, local - count
    raise ContractError(
        f"index: window {window} found; expected 0 to {window - local - 1}. "
        "Find the layer that made it."
    )
