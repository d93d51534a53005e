"""Seeds of any size for torch, which takes 64 bits."""

from __future__ import annotations

import numpy as np


def torch_seed(*words: int) -> int:
    """64 bits out of whole numbers from 0, mixed by numpy's SeedSequence.

    One that fits is itself, so that it gives what `torch.manual_seed` gives anybody.
    """
    if len(words) == 1 and words[0] < 2**64:
        return words[0]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
