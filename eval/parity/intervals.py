"""How sure a change of AP or AR is: its 95 % interval by a paired bootstrap over the pictures.

Both artefacts were measured on the same pictures, so every resampled set is the same on both sides
and what is hard about a picture falls out of the difference. Percentile bootstrap, Efron &
Tibshirani 1993, ch. 13; the matches of one evaluation serve all sets (`coco/matches.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..coco.accuracy import Kind
from ..coco.matches import Matches

Interval = tuple[float, float]
"""Both ends, in points."""
Intervals = dict[str, dict[str, Interval | None]]
"""By kind, then by name: {"box": {"AP": (-0.2, 0.1)}, "mask": {...}}."""

Changes = npt.NDArray[np.float64]

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
    changes = resampled_changes(reference, candidate, seed)
    return {
        kind: {
            name: _ends(sets) if reference[kind].pictures >= MIN_PICTURES else None
            for name, sets in by_name.items()
        }
        for kind, by_name in changes.items()
    }


def resampled_changes(
    reference: Mapping[Kind, Matches], candidate: Mapping[Kind, Matches], seed: int = 0
) -> dict[Kind, dict[str, Changes]]:
    """Each change in `RESAMPLES` sets of as many pictures, the same sets for every kind and name.

    Returns:
        By kind and name, (RESAMPLES,) in points; NaN where a set holds no object.
    """
    return {kind: _resampled(reference[kind], candidate[kind], seed) for kind in reference}


def _resampled(reference: Matches, candidate: Matches, seed: int) -> dict[str, Changes]:
    pictures = reference.pictures
    sets = np.random.default_rng(seed).multinomial(
        pictures, np.full(pictures, 1.0 / pictures), size=RESAMPLES
    )
    weights = sets.astype(np.float64)  # how often each picture is in each set
    before, after = reference.resampled(weights), candidate.resampled(weights)
    return {name: after[name] - before[name] for name in before}


def _ends(changes: Changes) -> Interval | None:
    known = changes[np.isfinite(changes)]  # a set may hold no object
    if not known.size:
        return None
    low, high = np.percentile(known, ENDS)
    return float(low), float(high)
