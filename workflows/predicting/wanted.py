"""What a user wants to see of a picture's instances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ...runtime.results.choosing import labels_of, least_scores
from ...runtime.results.instances import Instances
from ...runtime.results.mask_nms import check_mask_iou
from ..data import require_at_least_one

MOST_PROPOSALS = 20
"""Drawn on a picture unless asked otherwise: hundreds over each other show nothing."""


@dataclass(frozen=True)
class Wanted:
    """Classes and suppression hold for results and overlays, scores and number for overlays."""

    score: float = 0.5
    """In [0, 1]; of the classes that `by_class` does not name."""
    by_class: Mapping[str, float] = field(default_factory=dict)
    """Other least scores, by the class's name."""
    classes: Sequence[str] | None = None
    """Names; None is all."""
    most: int | None = None
    """Drawn on a picture, the best; None is all, of proposals `MOST_PROPOSALS`."""
    nms_iou: float | None = None
    """Mask IoU in (0, 1] above which the better instance suppresses the other."""

    def check(self, contract: Contract) -> None:
        """Refuse what is out of range, and classes that the network does not know.

        Raises:
            InputError: so it is.
        """
        if not 0 <= self.score <= 1:
            raise InputError(f"--score {self.score}: expected a score from 0 to 1. Correct it.")
        least_scores(self.score, self.by_class, contract.class_names)
        labels_of(self.classes or (), contract.class_names)
        if self.nms_iou is not None:
            check_mask_iou(self.nms_iou)
        if self.most is not None:
            require_at_least_one(most=self.most)

    def of(self, contract: Contract) -> Wanted:
        """The same for one network: classes that it does not know are left away."""
        known = contract.class_names
        most, classes = self.most, self.classes
        if contract.task == "proposals":
            most, classes = most or MOST_PROPOSALS, None
        return dataclasses.replace(
            self,
            by_class={name: score for name, score in self.by_class.items() if name in known},
            classes=classes and [name for name in classes if name in known],
            most=most,
        )

    def kept(self, found: Instances) -> Instances:
        """What goes into the results."""
        if self.classes is not None:
            found = found.filter(classes=self.classes)
        return found if self.nms_iou is None else found.suppressed(self.nms_iou)

    def drawn(self, kept: Instances) -> Instances:
        """What of that is drawn."""
        shown = kept.filter(self.score, by_class=self.by_class)
        return shown if self.most is None else shown.best(self.most)
