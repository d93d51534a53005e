"""The processes of one training: which this is, on which device, and what all must agree on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch

LONGEST_WAIT = timedelta(hours=6)
"""For the first process, which evaluates while the others wait for the next step."""


@dataclass(frozen=True)
class Ranks:
    """One process, this, among those that share each batch."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def shard(self) -> tuple[int, int]:
        """As the loader takes it."""
        return self.rank, self.count

    def least(self, number: int) -> int:
        """The smallest of the processes'; all must ask."""
        value = torch.tensor(number, device=self.device)
        if self.count > 1:
            torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MIN)
        return int(value)

    def agreed(self, flag: bool) -> bool:
        """What the first process says; all must ask."""
        if self.count == 1:
            return flag
        word = torch.tensor([float(flag)], device=self.device)
        torch.distributed.broadcast(word, 0)
        return bool(word.item())


def mean_over(processes: int, values: torch.Tensor) -> torch.Tensor:
    """The processes' mean, element by element; all must ask. Nothing waits for the device."""
    if processes == 1:
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total / processes


def is_first_rank() -> bool:
    """Whether this process writes the results; the only one is the first."""
    return os.environ.get("RANK", "0") == "0"


def this_rank() -> Ranks:
    """The place of this process, as torchrun says if it started it."""
    count, rank, local = (
        int(os.environ.get(name, default))
        for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
    )
    cuda = torch.cuda.is_available()
    return Ranks(rank, count, torch.device("cuda", local) if cuda else torch.device("cpu"))


def join(ranks: Ranks) -> None:
    """Meet the other processes, if there are any."""
    if ranks.count > 1 and not torch.distributed.is_initialized():
        backend = "nccl" if ranks.device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)
