"""Ground-truth masks seen through boxes: what the mask loss of either family compares with.

Pixels are picked by index. Pooling whole masks (RoIAlign of one sample on one float mask for each
box) gives the same numbers for a gigabyte and a second and a half a picture at full size.
Detectron2's bit masks average a sample a pixel, which differs in 0.4 % of 28 x 28 cells (drawn
shapes, all on outlines); its polygons are drawn on the cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cut_masks(
    masks: Tensor, objects: Tensor, boxes: Tensor, side: int, *, repeat_edge: bool = False
) -> Tensor:
    """Cut objects' masks out by boxes: one bilinear sample at the centre of each cell.

    Args:
        masks: (G, h, w) uint8, 0 and 1.
        objects: (P,) the mask of each box.
        boxes: (P, 4) xyxy px.
        side: cells per side of the result.
        repeat_edge: the outermost pixels reach as far as a sample does, as in RoIAlign, for boxes
            that do not leave the masks; else masks fall to 0 at their edge.

    Returns:
        (P, side, side) float32 in [0, 1].
    """
    border = 1 if repeat_edge else 0
    x0, x1, part_x = _taps(boxes[:, 0], boxes[:, 2], side, masks.shape[2], border)
    y0, y1, part_y = _taps(boxes[:, 1], boxes[:, 3], side, masks.shape[1], border)
    padded = F.pad(masks, (1, 1, 1, 1))
    number = objects[:, None, None]

    def row(y: Tensor) -> Tensor:
        left = padded[number, y[:, :, None], x0[:, None, :]].float()
        right = padded[number, y[:, :, None], x1[:, None, :]].float()
        return left + (right - left) * part_x[:, None, :]

    top = row(y0)
    return top + (row(y1) - top) * part_y[:, :, None]


def _taps(
    low: Tensor, high: Tensor, count: int, length: int, border: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of `count` samples between two edges: two pixels of a map padded by one, and the way."""
    steps = (torch.arange(count, device=low.device) + 0.5) / count
    at = low[:, None] + steps * (high - low)[:, None] + 0.5  # 0.5 is the padded map's first centre
    at = at.clamp(border, length + 1 - border)
    first = at.long().clamp(max=length)
    return first, first + 1, at - first
