"""A run's checkpoints measured on the val split, as `maskrt eval` measures them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from ...eval import Accuracy, CocoData, Measurement, predict_data
from ...eval.parity.hops import measurement_of
from ...runtime.predictor import Predictor
from ..torch_session import open_checkpoint


class Validation:
    """The val split of a run, and what was last measured on it."""

    def __init__(self, data: CocoData) -> None:
        self.data = data
        self.last: tuple[int, Measurement] | None = None
        """Step and result of the last evaluation."""
        self.measuring: Path | None = None
        """The checkpoint that is measured now, or was when that was interrupted."""

    @property
    def accuracy(self) -> Accuracy | None:
        """Of the last evaluation, after the run of its result."""
        return None if self.last is None else self.last[1].accuracy

    def measure(self, path: Path, step: int, *, progress: bool) -> Measurement:
        """Predict every picture with the checkpoint at `path`, which is that of `step`.

        `progress` shows a bar.

        Raises:
            InputError: the data set has other classes.
        """
        self.measuring = path
        with _precision_kept(), Predictor(open_checkpoint(path)) as predictor:
            predictions = predict_data(predictor, self.data, progress=progress)
            backend = str(predictor.session.backend)
            measurement = measurement_of(predictions, predictor.contract, backend, path, self.data)
        self.measuring, self.last = None, (step, measurement)
        return measurement


@contextlib.contextmanager
def _precision_kept() -> Iterator[None]:
    """Opening a checkpoint on a GPU turns TF32 off; steps go on in the precision they had."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
