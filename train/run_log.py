"""What a run writes down as it goes: `log.csv`, and TensorBoard events where that is installed."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from ..runtime.errors import TrainError
from ..runtime.files import write_bytes
from .recipes.values import shown
from .run_folder import LOG

LOG_EVERY = 20
"""Steps."""

OnLog = Callable[[int, dict[str, float]], None]
"""A hook: told a step and values by name, finite numbers. Every `LOG_EVERY` steps `lr`, each loss,
their `total` and `pictures_per_s`; after an evaluation `val_mask_ap` and whatever else there is."""


class Log:
    """One row every `LOG_EVERY` steps, begun with the first row.

    What is there of an earlier run is kept up to `first_step`.

    TensorBoard is the extra `tensorboard`; without it the numbers are in the CSV alone. The CSV row
    goes first: a disk that refuses it is reported here, where TensorBoard's own writer, a thread,
    would print its traceback.
    """

    def __init__(self, out: Path, first_step: int, on_log: OnLog | None = None) -> None:
        self._out, self._first_step, self._on_log = out, first_step, on_log
        if (out / LOG).exists():
            _forget_rows_after(first_step, out / LOG)
        self._stream: TextIO | None = None
        self._board: Any = None

    def write(self, step: int, rate: float, terms: Mapping[str, float], speed: float) -> None:
        """Log one step when its turn has come; TrainError when the disk refuses.

        Pictures a second (`speed`) are not in the CSV, which repeats itself run by run.
        """
        if step % LOG_EVERY and step != 1:
            return
        with self._reported():
            stream = self._stream = self._stream or self._open()
            rows = csv.writer(stream)
            if stream.tell() == 0:
                rows.writerow(["step", "lr", *terms])
            rows.writerow([step, f"{rate:.6g}", *(f"{v:.9g}" for v in terms.values())])
            stream.flush()
        total = sum(terms.values())
        self.add(step, {"lr": rate, **terms, "total": total, "pictures_per_s": speed})

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Give values to TensorBoard and to the caller's hook."""
        with self._reported():
            self._add_scalars(step, values)
        if self._on_log is not None:
            self._on_log(step, dict(values))

    def _open(self) -> TextIO:
        return (self._out / LOG).open("a", newline="", encoding="utf-8")

    def _add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        if self._board is None:
            self._board = SummaryWriter(str(self._out), purge_step=self._first_step)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close both."""
        with self._reported(), contextlib.ExitStack() as stack:
            for part in (self._stream, self._board):
                if part is not None:
                    stack.callback(part.close)

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise TrainError(
                f"{self._out / LOG}: could not be written ({err.strerror or err}); the last "
                "saved state is whole. Free some space, then use --resume or start again."
            ) from err


def _forget_rows_after(step: int, path: Path) -> None:
    """Drop what a run that was cut off had logged since its last checkpoint.

    Raises:
        TrainError: a row that `Log` did not write.
    """
    head, *rows = path.read_bytes().splitlines(keepends=True) or [b""]
    whole = [row for row in rows if row.endswith(b"\n")]  # the last may be cut off
    kept = [
        row
        for number, row in enumerate(whole, 2)
        if row.strip() and _step(path, number, row) <= step
    ]
    write_bytes(path, head + b"".join(kept) if head.endswith(b"\n") else b"")


def _step(path: Path, number: int, row: bytes) -> int:
    text = row.split(b",")[0]
    if not text.isdigit() or len(text) > 16:
        raise TrainError(
            f"{path}: line {number} begins with {shown(text.decode(errors='replace'))}; expected "
            "a step, as training wrote it. Remove the line or the file."
        )
    return int(text)
