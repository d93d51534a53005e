"""Drawing what is trained: every loss samples from the caller's generator alone."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(candidates: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` of the candidates (N,), none twice, in an order drawn on the CPU."""
    order = torch.randperm(len(candidates), generator=generator)[:count]
    return candidates[order.to(candidates.device)]
