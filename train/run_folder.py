"""A run's folder while a process trains in it: its files' names, and that there is one process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..runtime.errors import InputError, TrainError
from ..runtime.files import write_error

RESULT, BEST, LAST = "model.safetensors", "best.safetensors", "last.safetensors"
"""Checkpoints: of the end, of the highest accuracy so far, of the last saved state."""
STATE, RECIPE, LOCK = "resume.safetensors", "model.yaml", "train.lock"
LOG, EVALUATIONS, SAMPLES, REPORT = "log.csv", "evaluations.csv", "samples.html", "report.html"


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder, which is made, for this process.

    The kernel drops the lock with the process, however that ends, so a file that was left behind
    locks nothing; a forked worker does not keep it.

    Raises:
        InputError: the folder cannot be written.
        TrainError: another process trains in it.
    """
    path = out / LOCK
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as err:
        raise write_error(path, err) from err
    with os.fdopen(handle, "r+") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as err:
            raise TrainError(
                f"{out}: process {stream.read(20).strip()} trains in it; expected a folder of its "
                "own. Wait for its end or name another --out."
            ) from err
        try:
            _sign(handle, path)
            _remove_half_written(out)
            yield
        finally:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # of a run that was refused nothing stays
                out.rmdir()


def _sign(handle: int, path: Path) -> None:
    try:
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except OSError as err:
        raise write_error(path, err) from err


def _remove_half_written(out: Path) -> None:
    """What `atomic_path` had begun in a process that was killed."""
    for name in (RESULT, BEST, LAST, STATE, RECIPE, LOG, EVALUATIONS, SAMPLES, REPORT):
        for left in out.glob(f".{Path(name).stem}.*.tmp"):
            left.unlink(missing_ok=True)


def require_run(out: Path) -> None:
    """InputError unless there is something to resume."""
    if not (out / STATE).exists():
        raise InputError(
            f"{out / STATE}: no such file; expected the state of a run, which is saved every "
            "solver.checkpoint_every steps. Start the run without --resume."
        )


def require_no_run(out: Path) -> None:
    """InputError where a run, or a checkpoint of another origin, would be overwritten."""
    if (out / STATE).exists():
        raise InputError(f"{out}: already holds a run; continue it with --resume or name another.")
    for name in (RESULT, BEST, LAST):
        if (out / name).exists():
            raise InputError(
                f"{out / name}: is there already, and no run to continue; expected a folder "
                "without a checkpoint. Name another --out."
            )
