"""RoIAlign in torch: differentiable for training, and the operator the exporter turns into ONNX.

Specification (Detectron2 layers/roi_align.py at 02b5c4e2, `aligned=True`). A box (x0, y0, x1, y1)
in canvas pixels is scaled by `spatial_scale` and shifted by half a pixel into the frame of feature
cells: x' = x * scale - 0.5. It is cut into P x P bins; each bin is the mean of Sy x Sx bilinear
samples at x'0 + (bin + (s + 0.5) / Sx) * width / P. A sample outside [-1, size] counts as 0;
otherwise it is clamped to [0, size - 1] before interpolation. Sx = Sy = S is the sampling ratio,
or, where that is 0, *adaptive*: Sx = ceil(width / P) and Sy = ceil(height / P), at most what a box
as large as the map has. `engines/kernels/reference.py` is the full specification.

A bilinear sample is separable, so a bin is a bilinear form: out = Ay . X . Ax^T, where row `bin`
of Ay (P x H) holds the mean of the samples' interpolation weights along y. Two batched matrix
products replace any gathering, the gradient comes for free, and boxes get none (they are detached,
as in Detectron2). Known answer: 5 x 5 map 0..24, box (1, 1, 3, 3), P = 4 gives 4.5 5.0 5.5 6.0 in
row 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def roi_align(
    features: Tensor, rois: Tensor, output_size: int, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """Pool each box to `output_size` x `output_size` cells.

    Args:
        features: (B, C, H, W) float.
        rois: (B, K, 4) float32 xyxy boxes in canvas pixels, row b of image b.
        output_size: P, cells per side.
        spatial_scale: feature cells per canvas pixel, e.g. 1 / 16.
        sampling_ratio: S, samples per cell and axis; 0 is adaptive.

    Returns:
        (B * K, C, P, P) of the features' dtype.
    """
    batch, channels, height, width = features.shape
    count = rois.shape[1]
    boxes = rois.detach().float() * spatial_scale - 0.5
    most = sampling_ratio or -(-max(height, width) // output_size)
    steps = (output_size, sampling_ratio, most)
    weights_x = _axis_weights(boxes[..., 0], boxes[..., 2], width, *steps)
    weights_y = _axis_weights(boxes[..., 1], boxes[..., 3], height, *steps)
    weights_x, weights_y = weights_x.to(features.dtype), weights_y.to(features.dtype)
    rows = weights_y.reshape(batch, count * output_size, height)  # (B, K*P, H)
    table = features.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    partial = torch.bmm(rows, table).reshape(batch * count, output_size, width, channels)
    columns = weights_x.reshape(batch * count, 1, output_size, width)
    return torch.matmul(columns, partial).permute(0, 3, 1, 2)  # (B*K, C, P, P)


def _axis_weights(
    low: Tensor, high: Tensor, size: int, cells: int, samples: int, most: int
) -> Tensor:
    """(B, K) box ends in cells -> (B, K, cells, size) mean interpolation weights along one axis."""
    width = ((high - low) / cells)[..., None, None]  # (B, K, 1, 1), of a bin
    count = torch.full_like(width, samples) if samples else width.ceil().clamp(0, most)
    cell = torch.arange(cells, device=low.device, dtype=low.dtype)[:, None]
    step = torch.arange(most, device=low.device, dtype=low.dtype)
    at = low[..., None, None] + (cell + (step + 0.5) / count.clamp(min=1)) * width  # (B, K, P, S)
    inside = (at >= -1) & (at <= size) & (step < count)
    at = at.clamp(0, size - 1)[..., None]
    grid = torch.arange(size, device=low.device, dtype=low.dtype)
    weights = (1 - (at - grid).abs()).clamp(min=0) * inside[..., None]  # (B, K, P, S, size)
    return weights.sum(dim=3) / count.clamp(min=1)


@torch.library.custom_op("maskrt::roi_align", mutates_args=())
def roi_align_operator(
    features: Tensor, rois: Tensor, output_size: int, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    """`roi_align` as one opaque operator, so that the exporter sees a single node."""
    return roi_align(features, rois, output_size, spatial_scale, sampling_ratio).contiguous()


@roi_align_operator.register_fake
def _(
    features: Tensor, rois: Tensor, output_size: int, spatial_scale: float, sampling_ratio: int
) -> Tensor:
    slots = rois.shape[0] * rois.shape[1]
    return features.new_empty(slots, features.shape[1], output_size, output_size)
