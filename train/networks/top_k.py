"""The best K of many scores, for any K, out of TopK nodes that every TensorRT builds."""

from __future__ import annotations

import torch
from torch import Tensor

LIMIT = 3840
"""The largest K that TensorRT's TopK builds (10.x, 11.x and RTX 1.7); Detectron2's RPN asks for
6000."""


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best `k` scores of each row and their places, best first, `LIMIT` at a time.

    Each part takes the best of what is left and marks their places with the lowest float. Every
    score is above that mark and as many places are left as are still asked for, so no place is
    taken twice. All that a part takes is at least all that it leaves, hence at least all that later
    parts take: the parts in a row are in falling order and hold the K best, ties or not. Where
    TopK prefers the earlier of equal scores (ONNX Runtime does), so does the whole.

    Args:
        scores: (B, N) floats, each above the lowest of their type; no NaN.
        k: at least 1.

    Returns:
        (B, min(k, N)) scores and (B, min(k, N)) int64 places, none twice in a row.
    """
    wanted, taken = min(k, scores.shape[1]), torch.finfo(scores.dtype).min
    parts = [torch.topk(scores, min(wanted, LIMIT), dim=1)]
    for start in range(LIMIT, wanted, LIMIT):
        scores = scores.scatter(1, parts[-1].indices, taken)
        parts.append(torch.topk(scores, min(wanted - start, LIMIT), dim=1))
    if len(parts) == 1:
        return parts[0].values, parts[0].indices
    values, indices = zip(*parts, strict=True)
    return torch.cat(values, dim=1), torch.cat(indices, dim=1)
