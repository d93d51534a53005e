"""Exact greedy non-maximum suppression as a fixpoint, made of matrix products and fixed shapes.

Boxes come sorted by score, best first. Let S[j, i] = 1 when j < i and IoU(j, i) > t (box j may
suppress box i), and start from keep = all valid boxes. One round is

    keep[i] <- valid[i] and not any_j(keep[j] and S[j, i]).

Greedy NMS is the only fixpoint: by induction over i, box i's fate depends on earlier boxes alone.
Box 0 is right after no round; once every box that may suppress i is right, i is right one round
later and stays so. So `rounds` rounds are exact whenever no chain of overlaps (a suppresses b
suppresses c ...) is longer than `rounds` links. Real pictures need 12 at most (1000 to 3000 boxes
at t = 0.7, see design). Past the limit the error is one-sided: starting from a superset of the
answer, an odd number of rounds gives a subset and an even number a superset (the round is order-
reversing), so with the even default no box greedy NMS keeps is ever lost; a few near-duplicates
deep in a chain may survive.

Why not ONNX NonMaxSuppression: data-dependent shapes, see design section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import areas, intersections

ROUNDS = 16
"""Even, so that truncation can only keep too much (see above)."""
NEVER = -1e30
"""Score of what must not be chosen; finite, so that no arithmetic turns it into NaN."""


def suppression(boxes: Tensor, iou: float, labels: Tensor | None = None) -> Tensor:
    """(B, K, K) float32: [b, j, i] is 1 when box j, ranked before i, overlaps it above `iou`.

    Args:
        boxes: (B, K, 4) xyxy, sorted by score.
        iou: threshold; suppression is strict (IoU > iou) as in torchvision.
        labels: (B, K) when boxes of different classes must not suppress each other.
    """
    inter = intersections(boxes, boxes)
    area = areas(boxes)
    union = area[:, :, None] + area[:, None, :] - inter
    rank = torch.arange(boxes.shape[1], device=boxes.device)
    overlaps = (inter > iou * union) & (rank[:, None] < rank[None, :])
    if labels is not None:
        overlaps = overlaps & (labels[:, :, None] == labels[:, None, :])
    return overlaps.to(torch.float32)


def fixpoint_nms(matrix: Tensor, valid: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Which boxes greedy NMS keeps, in fixed shapes.

    Args:
        matrix: (B, K, K) from `suppression`.
        valid: (B, K) bool; other boxes are neither kept nor suppress anything.
        rounds: number of rounds, see the module docstring.

    Returns:
        (B, K) bool.
    """
    start = valid.to(matrix.dtype)[:, None]  # (B, 1, K)
    keep = start
    for _ in range(rounds):
        keep = start * (torch.matmul(keep, matrix) < 0.5)
    return keep[:, 0] > 0.5


def greedy_nms(boxes: Tensor, iou: float) -> Tensor:
    """(K,) bool for boxes (K, 4) sorted by score: rounds until nothing changes (training)."""
    matrix = suppression(boxes[None], iou)
    keep = torch.ones(1, 1, boxes.shape[0], device=boxes.device)
    while True:
        after = (torch.matmul(keep, matrix) < 0.5).to(matrix.dtype)
        if torch.equal(after, keep):
            return keep[0, 0] > 0.5
        keep = after
