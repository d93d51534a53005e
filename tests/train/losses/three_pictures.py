"""The ground truth that losses are proved on, and how a loss is compared with its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from maskrt.train.data.target import Target

from .numpy_mask_rcnn import Array, Term, Truth


def target_of(
    size_hw: tuple[int, int],
    boxes: list[list[float]],
    labels: list[int],
    crowds: list[list[float]] | None = None,
) -> Target:
    """Ellipses that fill their boxes; halves of them at the left or upper edge."""
    masks = torch.zeros(len(boxes), *size_hw, dtype=torch.uint8)
    for mask, box in zip(masks, boxes, strict=True):
        mask.copy_(ellipse(size_hw, *box))
    return Target(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        masks,
        torch.tensor(crowds or []).reshape(-1, 4),
    )


def ellipse(size_hw: tuple[int, int], x0: float, y0: float, x1: float, y1: float) -> Tensor:
    """(h, w) bool."""
    x0, y0 = (x0 or -x1), (y0 or -y1)
    y, x = (torch.arange(length) + 0.5 for length in size_hw)
    across, down = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
    return across.square() + down.square()[:, None] <= 1


def in_numpy(target: Target) -> Truth:
    """The same in float64."""
    boxes, masks, crowds = (
        t.double().numpy() for t in (target.boxes, target.masks, target.crowd_boxes)
    )
    return Truth(boxes, target.labels.numpy(), masks, crowds)


def in_float64(outputs: list[Tensor]) -> Array:
    """Parts along axis 1 as one."""
    return torch.cat(outputs, dim=1).detach().double().numpy()


def agrees(term: Tensor, outputs: list[Tensor], wanted: Term) -> None:
    """Value and gradient are the definition's to 1e-5; outputs are parts along axis 1."""
    assert term.item() == pytest.approx(wanted.value, rel=1e-5)
    found = torch.cat(torch.autograd.grad(term, outputs, retain_graph=True), dim=1).numpy()
    largest = np.abs(wanted.gradient).max()
    assert largest > 0
    np.testing.assert_allclose(found, wanted.gradient, rtol=0, atol=1e-5 * largest)
