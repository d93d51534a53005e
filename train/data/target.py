"""One picture's ground truth, as the losses of every family take it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Target:
    """Objects in canvas pixels, crowds apart."""

    boxes: Tensor
    """(G, 4) xyxy float32."""
    labels: Tensor
    """(G,) int64."""
    masks: Tensor
    """(G, h, w) uint8, h and w at least the picture's size on the canvas."""
    crowd_boxes: Tensor
    """(X, 4) xyxy float32."""
