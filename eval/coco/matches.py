"""Accuracy of resampled pictures, from the matches of one evaluation.

COCOeval matches a picture's detections with its objects without looking at other pictures; only the
ranking that precision is read from goes over all. So in a set where picture i stands w[i] times a
detection of it counts w[i] times in that ranking, and

    AP(w) = mean over classes, IoU and 101 recalls r of the greatest precision at recall r or above
    AR(w) = sum of w[i] found[i] over sum of w[i] there[i]

for thousands of such w at once. With w = 1 both are COCO's numbers. Precision is greatest at a
found object, so it is taken there alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_RECALLS = np.linspace(0.0, 1.0, 101)  # COCOeval's recThrs
_TOGETHER = 4_000_000  # numbers at a time: 32 MB


@dataclass(frozen=True)
class CategoryMatches:
    """D detections of one class over all pictures, best first, at T thresholds of IoU."""

    pictures: npt.NDArray[np.int64]
    """(D,) place of each one's picture."""
    found: npt.NDArray[np.bool_]
    """(T, D) whether it is the one that found its object."""
    ignored: npt.NDArray[np.bool_]
    """(T, D) whether it counts for nothing, as on a crowd region."""
    there: Array
    """(I,) objects in each picture."""

    def precision(self, weights: Array) -> Array:
        """(R,) average precision in [0, 1] under (R, I) weights; NaN where no object is left."""
        parts = max(1, len(weights) * len(self.pictures) // _TOGETHER)
        return np.concatenate([self._part(part) for part in np.array_split(weights, parts)])

    def _part(self, weights: Array) -> Array:
        there = weights @ self.there
        drawn = weights[:, self.pictures]  # (R, D)
        ranked = drawn.cumsum(axis=1)
        total = np.zeros(len(weights))
        for found, ignored in zip(self.found, self.ignored, strict=True):
            hits = np.flatnonzero(found)
            if not hits.size:
                continue
            seen = (drawn * ~ignored).cumsum(axis=1) if ignored.any() else ranked
            total += _interpolated(drawn[:, hits].cumsum(axis=1), seen[:, hits], there)
        return np.where(there > 0, total / len(self.found), np.nan)


@dataclass(frozen=True)
class PrecisionMatches:
    """What AP is taken from: the classes that have an object, over I pictures."""

    pictures: int
    categories: tuple[CategoryMatches, ...]

    def resampled(self, weights: Array) -> dict[str, Array]:
        """AP in [0, 100] under (R, I) weights, (R,); NaN where no object is left."""
        if not self.categories:
            return {"AP": np.full(len(weights), np.nan)}
        values = np.array([category.precision(weights) for category in self.categories])
        counted = np.isfinite(values)
        total = np.where(counted, values, 0.0).sum(axis=0)
        return {"AP": 100.0 * total / np.where(counted.any(axis=0), counted.sum(axis=0), np.nan)}

    def pictures_above(self, limit: int) -> int:
        """How many pictures have more objects of one class than that."""
        crowded = np.zeros(self.pictures, np.bool_)
        for category in self.categories:
            crowded |= category.there > limit
        return int(crowded.sum())


@dataclass(frozen=True)
class RecallMatches:
    """What AR is taken from, over I pictures."""

    found: dict[str, Array]
    """By name (`AR@10` ...), (I,): objects found in each picture, mean over thresholds of IoU."""
    there: Array
    """(I,) objects in each picture."""

    @property
    def pictures(self) -> int:
        """I."""
        return len(self.there)

    def resampled(self, weights: Array) -> dict[str, Array]:
        """Each AR in [0, 100] under (R, I) weights, (R,); NaN where no object is left."""
        there = weights @ self.there
        there = np.where(there > 0, there, np.nan)
        return {name: 100.0 * (weights @ found) / there for name, found in self.found.items()}


Matches = PrecisionMatches | RecallMatches


def _interpolated(hits: Array, seen: Array, there: Array) -> Array:
    """(R,) mean over 101 recalls of the greatest precision from there on.

    `hits` and `seen`, (R, P): found objects and detections up to each found object.
    """
    precision = hits / (seen + np.spacing(1))  # as COCOeval, which divides by no zero
    greatest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / np.maximum(there, 1.0)[:, None]
    reached = np.searchsorted(_RECALLS, recall, side="right")
    return np.asarray((greatest * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / _RECALLS.size)
