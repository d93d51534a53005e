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
    """(B, C, h, w), zero outside the picture but for its last row and column once more beyond it.

    Where a map ends, RoIAlign clamps samples to the last cells. On a canvas it reads between those
    and their neighbours outside, and no further.
    """
    x = masked(x, inside)
    rows, columns = inside[..., :1].to(x.dtype), inside[:, :, :1].to(x.dtype)
    x = x + _moved_on(x, 2) * (1 - rows)
    return x + _moved_on(x, 3) * (1 - columns)


def _moved_on(x: Tensor, axis: int) -> Tensor:
    """By one cell along an axis, away from the origin; the first stays."""
    if x.shape[axis] == 1:
        return x
    return torch.cat((x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)), dim=axis)
