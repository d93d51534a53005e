"""What divides a sum of losses whose samples differ in number from batch to batch."""

from __future__ import annotations

import torch
from torch import distributed


def shared_count(count: int, device: torch.device) -> torch.Tensor:
    """How many samples there are, on average over all processes; all must ask.

    DistributedDataParallel averages the processes' gradients, so their means count a sample of a
    process that has few for more than one of another (a picture without objects has no mask at
    all). Sums over this average to the mean of the whole batch, as in one process that has it all:
    mean(s / mean(n)) = sum(s) / sum(n), with sums s and counts n of each process.

    Args:
        count: samples of this process.
        device: of the losses.

    Returns:
        A scalar; where no process has any, what one sample would give.
    """
    total = torch.full((), count, device=device)
    if not (distributed.is_available() and distributed.is_initialized()):
        return total.clamp(min=1)
    distributed.all_reduce(total)
    return total.clamp(min=1) / distributed.get_world_size()
