"""What values a recipe's keys may have: said once, in the type of the key, checked by the loader.

    lr: Annotated[float, Range(0)] = 0.02

The upper bounds that no paper gives are there so that a slip of the finger is a sentence and not a
process that runs out of memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from ...runtime.errors import ConfigError

MOST_CHANNELS = 4096
"""Of one key; ResNet-152 has 2048."""
LONGEST_SIDE_PX = 16384
MOST_STEPS = 10**9


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float = math.inf
    without_low: bool = False
    """`low` itself is not in it."""
    without_high: bool = False
    multiple: int = 1
    """Whole numbers: of this."""

    def __contains__(self, value: float) -> bool:
        """Whether a number of the key's type is in it."""
        low = value > self.low if self.without_low else value >= self.low
        high = value < self.high if self.without_high else value <= self.high
        return low and high and value % self.multiple == 0 if self.multiple > 1 else low and high

    def __str__(self) -> str:
        """What is in it, as an error says it."""
        if self.high == math.inf:
            bounds = f"above {self.low:g}" if self.without_low else f"of at least {self.low:g}"
        else:
            bounds = f"{'above' if self.without_low else 'from'} {self.low:g} "
            bounds += f"{'to below' if self.without_high else 'to'} {self.high:.12g}"
        return bounds + (f", a multiple of {self.multiple}" if self.multiple > 1 else "")


@dataclass(frozen=True)
class Items:
    """Lists of so many items at least."""

    least: int

    def __contains__(self, value: Sequence[Any]) -> bool:
        """Whether it has as many."""
        return len(value) >= self.least

    def __str__(self) -> str:
        """As an error says it."""
        return f"with at least {self.least} of them"


Count = Annotated[int, Range(1, MOST_STEPS)]
"""Of things there must be one of."""
CountOrNone = Annotated[int, Range(0, MOST_STEPS)]
Channels = Annotated[int, Range(1, MOST_CHANNELS)]
QuarteredChannels = Annotated[int, Range(4, MOST_CHANNELS, multiple=4)]
"""Bottlenecks use a quarter."""
Blocks = Annotated[int, Range(1, 100)]
Cells = Annotated[int, Range(1, 256)]
SidePx = Annotated[int, Range(1, LONGEST_SIDE_PX)]
Share = Annotated[float, Range(0, 1)]
Below1 = Annotated[float, Range(0, 1, without_high=True)]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, without_low=True)]


def require_classes(names: tuple[str, ...]) -> None:
    """ConfigError for what no data set can have."""
    if len(set(names)) != len(names) or not names:
        raise ConfigError(
            f"classes={list(names)}: expected at least one name and none twice. "
            "Name the classes in label order."
        )
