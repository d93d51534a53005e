"""RoIAlign without the half pixel, where a box ends beyond its picture on a larger canvas.

Where `aligned` is off a box is at least one cell wide and high (torchvision). One that is narrower
and begins in the last cell of a map of w cells then reaches beyond w, and there every sample is 0.
On a larger canvas the map goes on. All samples of such a box that are not 0 lie behind the centre
of the last cell, so they are this cell, as `edge_repeated` repeats it: the box is moved back to end
at w, which changes neither its size nor its level, and its bins are multiplied by the share of
their samples that were inside. Both sides alike, each by itself.

Source of the rule: torchvision 0.29 csrc/ops/cpu/roi_align_common.h, `pre_calc_for_bilinear`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def moved_inside(rois: Tensor, stride: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes to pool, and how far (cells) each was moved along x and y.

    Args:
        rois: (B, K, 4) xyxy px, inside their pictures.
        stride: (B, K, 1) px per cell of each box's level.
        edge: (B, 2) height and width of the pictures in px, multiples of every stride.

    Returns:
        (B, K, 4) px, and (B, K, 2), 0 where a box is as it was.
    """
    low, high = rois[..., :2] / stride, rois[..., 2:] / stride
    end = edge.flip(1)[:, None] / stride
    beyond = torch.where(high - low < 1, (low + 1 - end).clamp(min=0), 0.0)
    return rois - (beyond * stride).repeat(1, 1, 2), beyond


def shares_inside(beyond: Tensor, cells: int, samples: int) -> Tensor:
    """(B, K, 2) -> (B * K, 1, P, P): of each bin's samples those that were inside, 0 to 1.

    A moved box is one cell wide, so adaptive sampling (0 `samples`) takes one.
    """
    count = max(samples, 1)
    places = torch.arange(cells * count, device=beyond.device) + 0.5
    inside = (places / (cells * count) + beyond[..., None] <= 1).to(beyond.dtype)
    share = inside.unflatten(-1, (cells, count)).mean(dim=-1).flatten(0, 1)  # (B * K, 2, P)
    return (share[:, 1, :, None] * share[:, 0, None, :])[:, None]


def strides_of(level: Tensor, strides: Sequence[int]) -> Tensor:
    """(B, K) level -> (B, K, 1) px per cell."""
    return torch.tensor(strides, dtype=torch.float32, device=level.device)[level][..., None]
