"""Losses of a run's steps, left on the device until somebody looks, since a look waits for it.

A loss that is infinite or NaN is noted there too: the run ends when a value is looked at or a state
would be saved, whichever comes first, and names the step that it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ..runtime.errors import TrainError
from .ranks import mean_over


class Divergence:
    """The first step whose loss was infinite or NaN, if there was one."""

    def __init__(self, device: torch.device, *, at_once: bool) -> None:
        """None so far; `at_once` looks at each that is noted, which a CPU does not wait for."""
        self._at_once = at_once
        self._first = torch.full((), -1, device=device)

    def note(self, step: int, loss: Tensor) -> None:
        """Take down the loss () of a step."""
        is_first = (self._first < 0) & ~loss.isfinite()
        self._first = torch.where(is_first, step, self._first)
        if self._at_once:
            self.require_none()

    def require_none(self) -> None:
        """TrainError where there was one; every process has the same losses, so all raise it."""
        step = int(self._first)
        if step >= 0:
            raise TrainError(
                f"step {step}: the loss is infinite or NaN; training diverged. Resume from the "
                "last checkpoint with a lower solver.lr or solver.clip_norm=5."
            )


class LossValues(Mapping[str, float]):
    """One step's losses by name, of the batch that so many processes share.

    The first look waits for the device, and may raise TrainError.
    """

    def __init__(
        self, terms: Mapping[str, Tensor], divergence: Divergence, processes: int = 1
    ) -> None:
        self._names, self._divergence = tuple(terms), divergence
        each = torch.stack([term.detach() for term in terms.values()])
        self._each = mean_over(processes, each)
        self._read: dict[str, float] | None = None

    @property
    def total(self) -> Tensor:
        """Their sum (), on the device."""
        return self._each.sum()

    def __getitem__(self, name: str) -> float:
        if self._read is None:
            self._divergence.require_none()
            self._read = dict(zip(self._names, self._each.tolist(), strict=True))
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
