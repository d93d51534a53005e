"""How sure a change of AP or AR is: its 95 % interval by a paired bootstrap over the pictures.

Both artefacts were measured on the same pictures, so every resampled set is the same on both sides
and what is hard about a picture falls out of the difference. Percentile bootstrap, Efron &
Tibshirani 1993, ch. 13; the matches of one evaluation serve all sets (`coco/matches.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..coco.accuracy import Kind
from ..coco.matches import Matches

Interval = tuple[float, float]
"""Both ends, in points."""
Intervals = dict[str, dict[str, Interval | None]]
"""By kind, then by name: {"box": {"AP": (-0.2, 0.1)}, "mask": {...}}."""

RESAMPLES = 1000
ENDS = (2.5, 97.5)
MIN_PICTURES = 10
"""Of fewer pictures a bootstrap says too much, as of turns."""


def change_intervals(
    reference: Mapping[Kind, Matches], candidate: Mapping[Kind, Matches], seed: int = 0
) -> Intervals:
    """The interval of each change, candidate minus reference, None where there is none.

    Args:
        reference: by kind, of the same pictures as the candidate's.
        candidate: its matches, of the same metric.
        seed: of the sets of pictures.
    """
    return {kind: _intervals(reference[kind], candidate[kind], seed) for kind in reference}


def _intervals(reference: Matches, candidate: Matches, seed: int) -> dict[str, Interval | None]:
    pictures = reference.pictures
    sets = np.random.default_rng(seed).multinomial(
        pictures, np.full(pictures, 1.0 / pictures), size=RESAMPLES
    )
    weights = sets.astype(np.float64)  # how often each picture is in each set
    before, after = reference.resampled(weights), candidate.resampled(weights)
    enough = pictures >= MIN_PICTURES
    return {name: _ends(after[name] - before[name]) if enough else None for name in before}


def _ends(changes: np.typing.NDArray[np.float64]) -> Interval | None:
    known = changes[np.isfinite(changes)]  # a set may hold no object
    if not known.size:
        return None
    low, high = np.percentile(known, ENDS)
    return float(low), float(high)
