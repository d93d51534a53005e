"""FastMask's windows: 10 x 10 cells of every level of a pyramid, and the operator that cuts them.

A level of h x w cells has (h + 1) x (w + 1) windows. Window (r, c) covers rows r - 5 .. r + 4 and
columns c - 5 .. c + 4, zeros outside the level; on the canvas that is the square of side 10 s
centred at (c s, r s) px. Windows are numbered row by row, level after level.

A pyramid is *packed*: levels flattened row by row and concatenated, (B, N, C), with their shapes
beside it as in deformable attention (Zhu et al. 2021). Source of the geometry: voidrank/caffe-fm
sliding_window_layer.cu at 2863b2a.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

WINDOW = 10
"""Cells per side."""
HALF = WINDOW // 2

Level = tuple[int, int]
"""Height and width in cells."""


def window_count(levels: Sequence[Level]) -> int:
    """Windows of a pyramid."""
    return sum((h + 1) * (w + 1) for h, w in levels)


def window_boxes(levels: Sequence[Level], strides_yx: Sequence[tuple[float, float]]) -> Tensor:
    """Every window as a box.

    Args:
        levels: L level shapes.
        strides_yx: canvas px per cell of each level, vertically and horizontally.

    Returns:
        (W, 4) float32 xyxy canvas px, reaching outside the canvas at its edges.
    """
    boxes = []
    for (height, width), (step_y, step_x) in zip(levels, strides_yx, strict=True):
        rows = torch.arange(height + 1, dtype=torch.float32)
        columns = torch.arange(width + 1, dtype=torch.float32)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        sides = [(x - HALF) * step_x, (y - HALF) * step_y, (x + HALF) * step_x, (y + HALF) * step_y]
        boxes.append(torch.stack(sides, dim=-1).reshape(-1, 4))
    return torch.cat(boxes)


def smallest_picture(windows: Tensor, *, one_beyond: bool) -> Tensor:
    """Sizes that a picture must exceed to have each window among its own.

    Args:
        windows: (W, 4) xyxy canvas px.
        one_beyond: as in the published code, where a level of h x w cells has h + 1 rows and w + 1
            columns of windows: centres may be up to a cell beyond the picture. Else they are in
            it, its edges included.

    Returns:
        (W, 2) float32 width and height, canvas px.
    """
    center = (windows[:, :2] + windows[:, 2:]) / 2
    if one_beyond:
        return center - (windows[:, 2:] - windows[:, :2]) / WINDOW
    return center.nextafter(torch.full_like(center, -torch.inf))


def pack(maps: Sequence[Tensor]) -> Tensor:
    """L maps (B, C, h, w) -> one packed pyramid (B, N, C)."""
    return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)


def coverage(length: int) -> Tensor:
    """(length,) how many of the length + 1 windows along an axis cover each cell."""
    cells = torch.arange(length)
    first = (cells - HALF + 1).clamp(min=0)
    last = (cells + HALF).clamp(max=length)
    return (last - first + 1).float()


def window_cells(index: Tensor, levels: Sequence[Level]) -> Tensor:
    """Where windows lie in a packed pyramid.

    Args:
        index: (...) int64 window numbers.
        levels: L level shapes.

    Returns:
        (..., 100) int64 cell numbers 0..N-1, row by row; N where a cell is outside its level.
    """
    shape = torch.tensor(levels, device=index.device)  # (L, 2)
    counts = (shape + 1).prod(dim=1)
    ends = counts.cumsum(0)
    cells = shape.prod(dim=1)
    level = (index[..., None] >= ends).sum(dim=-1)  # (...)
    height, width = shape[level, 0][..., None, None], shape[level, 1][..., None, None]
    local = index - (ends - counts)[level]
    row = torch.div(local, shape[level, 1] + 1, rounding_mode="floor")
    column = local - row * (shape[level, 1] + 1)
    steps = torch.arange(WINDOW, device=index.device) - HALF
    y = row[..., None, None] + steps[:, None]  # (..., 10, 1)
    x = column[..., None, None] + steps[None, :]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    start = (cells.cumsum(0) - cells)[level][..., None, None]
    at = torch.where(inside, start + y * width + x, int(cells.sum()))
    return at.flatten(-2)


def window_align(pyramid: Tensor, index: Tensor, levels: Sequence[Level]) -> Tensor:
    """Cut the same number of windows out of each picture; differentiable in the pyramid.

    Args:
        pyramid: (B, N, C), packed.
        index: (B, K) int64 window numbers of each picture.
        levels: L level shapes, N cells in all.

    Returns:
        (B * K, 10, 10, C), windows of picture 0 first; zeros outside the level.
    """
    batch, slots = index.shape
    picture = torch.arange(batch, device=index.device).repeat_interleave(slots)
    return cut_windows(pyramid, picture, index.flatten(), levels)


def cut_windows(pyramid: Tensor, picture: Tensor, index: Tensor, levels: Sequence[Level]) -> Tensor:
    """Windows `index` (M,) of pictures `picture` (M,), in any order: (M, 10, 10, C)."""
    batch, cells, channels = pyramid.shape
    padded = torch.cat((pyramid, pyramid.new_zeros(batch, 1, channels)), dim=1)
    at = window_cells(index, levels) + picture[:, None] * (cells + 1)  # (M, 100)
    windows = padded.reshape(-1, channels).index_select(0, at.flatten())
    return windows.reshape(-1, WINDOW, WINDOW, channels)


@torch.library.custom_op("maskrt::window_align", mutates_args=())
def window_align_operator(
    pyramid: Tensor, index: Tensor, spatial_shapes: list[int], size: int
) -> Tensor:
    """`window_align` as one opaque operator; `spatial_shapes` is h0, w0, h1, w1, ...; `size` 10."""
    if size != WINDOW:
        raise ValueError(f"maskrt::window_align: size {size}; expected {WINDOW}.")
    levels = list(zip(spatial_shapes[::2], spatial_shapes[1::2], strict=True))
    return window_align(pyramid, index, levels)


@window_align_operator.register_fake
def _(pyramid: Tensor, index: Tensor, spatial_shapes: list[int], size: int) -> Tensor:
    return pyramid.new_empty(index.shape[0] * index.shape[1], size, size, pyramid.shape[2])
