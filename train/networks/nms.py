"""Exact greedy non-maximum suppression as a fixpoint, made of matrix products and fixed shapes.

Boxes come sorted by score, best first. Let S[j, i] = 1 when j < i and IoU(j, i) > t (box j may
suppress box i), and start from keep = all valid boxes. One round is

    keep[i] <- valid[i] and not any_j(keep[j] and S[j, i]).

Greedy NMS is the only fixpoint: by induction over i, box i's fate depends on earlier boxes alone.
Box 0 is right after no round; once every box that may suppress i is right, i is right one round
later and stays so. So n rounds are exact whenever no chain of overlaps (a suppresses b suppresses
c ...) is longer than n links. The round is order-reversing: from a superset of the answer it makes
a subset, from a subset a superset. Starting from all valid boxes, an odd number of rounds gives a
lower bound of the answer and an even number an upper bound.

K x K is never built. The sorted boxes are cut into blocks of T, and each block is settled before
the next: what earlier blocks keep acts on it in one product, then rounds run on its own T x T part.
Of S only the blocks on and above the diagonal exist, K * (K + T) / 2 numbers instead of K * K, of
which the rounds read K * T.

Both bounds go from block to block: boxes that the lower bound of earlier blocks does not suppress
*may* be kept, boxes that the upper bound does not suppress *must* be unless their own block
suppresses them. Rounds that make a lower bound start from the latter, the others from the former,
so both stay bounds whatever came before. With R rounds a block, `fixpoint_nms` (the upper bound)

- is exact when no chain *inside a block* has more than R - 1 links (R in the last block). Earlier
  results count as settled, so a chain that goes on in the next block starts there anew. Real
  pictures need 12 at most (1000 to 3000 boxes in one block at t = 0.7);
- never loses a box that greedy NMS keeps, past that limit too; it then keeps boxes of a chain
  beyond its R-th link, and of what follows that chain in later blocks, that greedy NMS suppresses.

Why not ONNX NonMaxSuppression: the shape of what it gives depends on the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import areas, intersections

ROUNDS = 16
"""Rounds per block; even, so that the last one makes an upper bound."""
BLOCK = 1500
"""Boxes per block (T)."""
PAIRS = 2**24
"""Of boxes that `greedy_nms` looks at together: 64 MiB for each of their overlaps' steps."""
NEVER = -1e30
"""Score of what must not be chosen; finite, so that no arithmetic turns it into NaN."""


def fixpoint_nms(boxes: Tensor, valid: Tensor, iou: float, labels: Tensor | None = None) -> Tensor:
    """(B, K) bool, which boxes greedy NMS keeps, in fixed shapes; arguments as `nms_bounds`.

    See the module docstring for its limit.
    """
    return nms_bounds(boxes, valid, iou, labels)[0]


def nms_bounds(
    boxes: Tensor,
    valid: Tensor,
    iou: float,
    labels: Tensor | None = None,
    *,
    block: int = BLOCK,
    rounds: int = ROUNDS,
) -> tuple[Tensor, Tensor]:
    """Bounds of what greedy NMS keeps; where they are equal, they are exact.

    Args:
        boxes: (B, K, 4) xyxy float32, sorted by score.
        valid: (B, K) bool; other boxes are neither kept nor suppress anything.
        iou: threshold; suppression is strict (IoU > iou) as in torchvision.
        labels: (B, K) when boxes of different classes must not suppress each other.
        block: boxes settled at a time.
        rounds: per block, even.

    Returns:
        A superset and a subset, (B, K) bool each.
    """
    settled: list[Tensor] = []  # (B, 2, T) each: the upper bound's row, then the lower bound's
    count = boxes.shape[1]
    for start in range(0, max(count, 1), block):  # no boxes are one empty block
        here = slice(start, min(start + block, count))
        may = must = valid[:, None, here].to(boxes.dtype)  # (B, 1, T)
        if settled:
            across = _rivals(boxes, labels, slice(start), here, iou).to(boxes.dtype)
            must, may = _spared(may, torch.cat(settled, dim=2), across).split(1, dim=1)
        rank = torch.arange(here.stop - start, device=boxes.device)
        inside = _rivals(boxes, labels, here, here, iou) & (rank[:, None] < rank)
        settled.append(_settle(may, must, inside.to(boxes.dtype), rounds))
    bounds = torch.cat(settled, dim=2) > 0.5
    return bounds[:, 0], bounds[:, 1]


def greedy_nms(boxes: Tensor, valid: Tensor, iou: float) -> Tensor:
    """(B, K) bool, which boxes greedy NMS keeps: rounds until the bounds meet (training).

    Arguments as `nms_bounds`. As many rows at once as `PAIRS` allows: a GPU waits for the small
    ones' launches, not for their numbers.
    """
    rows = max(PAIRS // max(boxes.shape[1], 1) ** 2, 1)
    parts = zip(boxes.split(rows), valid.split(rows), strict=True)
    return torch.cat([_until_exact(*part, iou) for part in parts])


def _until_exact(boxes: Tensor, valid: Tensor, iou: float) -> Tensor:
    rounds = ROUNDS
    while True:
        upper, lower = nms_bounds(boxes, valid, iou, rounds=rounds)
        if torch.equal(upper, lower):
            return upper
        rounds *= 2


def _rivals(
    boxes: Tensor, labels: Tensor | None, rows: slice, columns: slice, iou: float
) -> Tensor:
    """(B, rows, columns) bool: the boxes overlap above `iou` and share their label."""
    first, second = boxes[:, rows], boxes[:, columns]
    inter = intersections(first, second)
    union = areas(first)[:, :, None] + areas(second)[:, None, :] - inter
    overlap = inter > iou * union
    if labels is None:
        return overlap
    return overlap & (labels[:, rows, None] == labels[:, None, columns])


def _settle(may: Tensor, must: Tensor, inside: Tensor, rounds: int) -> Tensor:
    """Rounds of one block from (B, 1, T) and (B, T, T) -> (B, 2, T), upper and lower bound."""
    upper = lower = may
    for _ in range(rounds // 2):
        lower = _spared(must, upper, inside)
        upper = _spared(may, lower, inside)
    return torch.cat((upper, lower), dim=1)


def _spared(free: Tensor, keep: Tensor, rivals: Tensor) -> Tensor:
    """The boxes of `free` that no kept one suppresses: zeros and ones, fewer nodes than with `<`.

    Args:
        free: (B, 1, M).
        keep: (B, R, N).
        rivals: (B, N, M).

    Returns:
        (B, R, M).
    """
    return (free - torch.matmul(keep, rivals)).relu()
