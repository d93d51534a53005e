"""What checkpoints of a run reached on the val split: `evaluations.csv`, the best, gain since.

A row of each evaluation, so that a run that goes on knows its best so far; rows after the step it
goes on from are dropped, as in `log.csv`, and come again.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from ...runtime.errors import TrainError
from ...runtime.files import write_text
from ..recipes.values import shown
from ..run_folder import EVALUATIONS

SCORES = ("mask_ap", "mask_ar_100", "box_ap", "box_ar_100")
"""Of `Accuracy.measured`; the first that a network has decides which checkpoint is best."""
_DECIMALS = 4


class Evaluations:
    """Rows by step, rising."""

    def __init__(self, out: Path, step: int) -> None:
        """Read what is in the folder `out` up to `step`; TrainError where it is something else."""
        self._path = out / EVALUATIONS
        rows = _read(self._path) if self._path.exists() else {}
        self.rows = {done: row for done, row in rows.items() if done <= step}
        """Accuracy by name at each step."""

    def add(self, step: int, measured: Mapping[str, float]) -> bool:
        """Write a row down; whether it is the best so far."""
        self.rows[step] = {name: round(value, _DECIMALS) for name, value in measured.items()}
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["step", *self.rows[step]])
        rows.writerows([done, *row.values()] for done, row in self.rows.items())
        write_text(self._path, text.getvalue())
        return self.best == step

    @property
    def best(self) -> int | None:
        """The step of the highest score, the first of several; None while nothing was found."""
        found = [step for step, row in self.rows.items() if score(row) > 0]
        return max(found, key=lambda step: score(self.rows[step]), default=None)

    @property
    def without_gain(self) -> int:
        """How many evaluations in a row, the last among them, were no new best; 0 without one."""
        steps = list(self.rows)
        return len(steps) - 1 - steps.index(self.best) if self.best is not None else 0


def score(measured: Mapping[str, float]) -> float:
    """The one number that checkpoints of a run are compared by, in [0, 100]."""
    names = [name for name in SCORES if name in measured]
    return measured[names[0]]


def _read(path: Path) -> dict[int, dict[str, float]]:
    try:
        lines = list(csv.DictReader(path.read_text().splitlines()))
        rows = {int(row.pop("step")): {k: float(v) for k, v in row.items()} for row in lines}
        if not all(math.isfinite(score(row)) for row in rows.values()):
            raise ValueError("a score that is no number")
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as err:
        raise TrainError(
            f"{path}: unreadable ({shown(str(err))}); expected a step and its accuracy in each "
            "row, as training wrote them. Remove the file."
        ) from err
    return dict(sorted(rows.items()))
