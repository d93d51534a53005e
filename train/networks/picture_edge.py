"""Where a picture ends on its canvas: cells beyond it count as the zeros of a map's own padding.

A convolution pads the map with zeros, so at the picture's edge it sees zeros only where the canvas
ends too. On a larger canvas it sees what earlier layers make of nothing, which is their biases.
Every layer that reads neighbours therefore takes `inside` with its map and reads `masked(x,
inside)`: a picture's features do not depend on its canvas.

`inside` is (B, 1, h, w) float, 1 in the ceil(height / stride) x ceil(width / stride) cells of a map
that hold the picture; None where the canvas is all picture.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inside_of(image_sizes: Tensor, canvas_hw: tuple[int, int]) -> Tensor:
    """(B, 2) valid (height, width) px -> (B, 1, H, W) float32 of the canvas itself."""
    rows, columns = (
        (torch.arange(length, device=image_sizes.device)[None] < image_sizes[:, axis, None]).float()
        for axis, length in enumerate(canvas_hw)
    )
    return rows[:, None, :, None] * columns[:, None, None, :]


def every(inside: Tensor | None, step: int) -> Tensor | None:
    """`inside` of a map that has every `step`th cell."""
    return inside if inside is None or step == 1 else inside[:, :, ::step, ::step]


def masked(x: Tensor, inside: Tensor | None) -> Tensor:
    """(B, C, h, w), zero outside the picture."""
    return x if inside is None else x * inside.to(x.dtype)


def edge_repeated(x: Tensor, inside: Tensor) -> Tensor:
    """(B, C, h, w) that is zero outside the picture, its last row and column once more beyond it.

    Where a map ends, RoIAlign clamps samples to the last cells. On a canvas it reads between those
    and their neighbours outside, and no further.
    """
    return _edge_repeated(_edge_repeated(x, inside[..., :1], 2), inside[:, :, :1], 3)


def _edge_repeated(x: Tensor, inside: Tensor, axis: int) -> Tensor:
    """Along one axis; `inside` is (B, 1, h, 1) or (B, 1, 1, w), and its first cell is."""
    count = inside.sum(dim=axis, keepdim=True)  # (B, 1, 1, 1)
    sides = [1 if n == axis else side for n, side in enumerate(x.shape)]
    last = x.gather(axis, (count - 1).relu().long().expand(sides))
    place = torch.arange(x.shape[axis], device=x.device).reshape(inside.shape[1:])
    return x + last * (place == count).to(x.dtype)  # a sum, for FP16 does not choose
