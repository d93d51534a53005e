"""Boxes in torch: anchors, the delta code, overlaps. All boxes are xyxy float32 in canvas pixels.

Source: Detectron2 modeling/anchor_generator.py and box_regression.py at 02b5c4e2 (no "+1", anchor
offset 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
"""Of the deltas from anchors to proposals."""
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of the deltas from proposals to detections."""
MAX_LOG_SCALE = math.log(1000.0 / 16)
"""dw and dh are clamped here, so that one wild delta cannot overflow."""


def anchors_for(
    map_hw: tuple[int, int],
    stride: int,
    sizes_px: Sequence[float],
    ratios: Sequence[float],
    *,
    whole_px: bool = False,
) -> Tensor:
    """(H * W * sizes * ratios, 4) anchors, order y, x, size, ratio, centred on stride * (x, y).

    With `whole_px` their edges are rounded to pixels, as torchvision's `AnchorGenerator` does.
    """
    cells = []
    for size in sizes_px:
        for ratio in ratios:
            width = math.sqrt(size * size / ratio)
            height = ratio * width
            cells.append((-width / 2, -height / 2, width / 2, height / 2))
    ys, xs = torch.meshgrid(torch.arange(map_hw[0]), torch.arange(map_hw[1]), indexing="ij")
    shifts = torch.stack((xs, ys, xs, ys), dim=-1).float() * stride  # (H, W, 4)
    shapes = torch.tensor(cells)
    return (shifts[:, :, None] + (shapes.round() if whole_px else shapes)).reshape(-1, 4)


def encode(boxes: Tensor, targets: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Deltas (..., 4) that take `boxes` to `targets`, both (..., 4)."""
    wx, wy, ww, wh = weights
    x, y, w, h = _center_size(boxes)
    tx, ty, tw, th = _center_size(targets)
    return torch.stack(
        (wx * (tx - x) / w, wy * (ty - y) / h, ww * (tw / w).log(), wh * (th / h).log()), dim=-1
    )


def decode(boxes: Tensor, deltas: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Boxes (..., 4) moved by `deltas` (..., 4); dw and dh clamped at `MAX_LOG_SCALE`."""
    wx, wy, ww, wh = weights
    x, y, w, h = _center_size(boxes)
    cx = x + deltas[..., 0] / wx * w
    cy = y + deltas[..., 1] / wy * h
    half_w = 0.5 * w * (deltas[..., 2] / ww).clamp(max=MAX_LOG_SCALE).exp()
    half_h = 0.5 * h * (deltas[..., 3] / wh).clamp(max=MAX_LOG_SCALE).exp()
    return torch.stack((cx - half_w, cy - half_h, cx + half_w, cy + half_h), dim=-1)


def clip(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Boxes (B, K, 4) limited to each image's valid (height, width), `image_sizes` (B, 2)."""
    limits = image_sizes.to(boxes.dtype)[:, None, [1, 0, 1, 0]]  # (B, 1, 4) as w h w h
    return torch.minimum(boxes.clamp(min=0), limits)


def areas(boxes: Tensor) -> Tensor:
    """(...) areas of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersections(first: Tensor, second: Tensor) -> Tensor:
    """(..., N, M) overlap areas of boxes (..., N, 4) and (..., M, 4)."""
    a, b = first[..., :, None, :], second[..., None, :, :]
    width = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])
    height = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])
    return width.clamp(min=0) * height.clamp(min=0)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) IoU of boxes (N, 4) and (M, 4); 0 where both are empty."""
    inter = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None] - inter
    return inter / union.clamp(min=1e-9)


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    w, h = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return boxes[..., 0] + 0.5 * w, boxes[..., 1] + 0.5 * h, w, h
