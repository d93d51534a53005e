"""An FP16 overflow made visible: it reaches the scores of all slots instead of losing an object.

NaN fails every comparison, so a candidate whose logits overflowed is dropped by the score threshold
inside the graph, and the slots may hold nothing of it: with 50 slots filled by others, one of seven
objects was gone and every output was finite. So the logits themselves are looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor

HUGE = 1e30
"""No sum of finite logits comes near it: 65504 times a million is 7e10."""


def carry_overflow(scores: Tensor, *logits: Tensor) -> Tensor:
    """(B, D) scores, unchanged where all of `logits` (B, ...) are finite, else NaN or infinite.

    A sum, because not every runtime's maximum keeps NaN; and no constant NaN in the graph.
    """
    total = torch.stack([x.abs().flatten(1).sum(dim=1) for x in logits]).sum(dim=0)
    return scores + torch.where(total < HUGE, 0.0, total)[:, None]
