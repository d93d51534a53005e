"""The runs of a sweep, each in a process of its own, so many at a time.

A run's folder is that of `maskrt train`: a finished one holds a measured checkpoint, one that was
cut off goes on by `--resume`. Children have a session of their own, so Ctrl-C reaches them through
this process alone, and they keep the state of their last step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...eval import CocoData, DataSource
from ...runtime.errors import InputError, TrainError
from ...train.recipes.recipe import differences, load_recipe
from ...train.run_folder import RESULT, STATE
from ...train.weights.checkpoint import Checkpoint, load_checkpoint
from .other_form import measured_as
from .plan import Plan, Row

_LOOKED_EVERY_S = 0.5


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    name: str
    row: Row
    seed: int
    out: Path
    """Of the sweep."""

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.out / f"{self.name}-{self.seed}"

    @property
    def lines(self) -> Path:
        """What its process printed."""
        return self.out / f"{self.name}-{self.seed}.txt"

    def finished(self) -> Checkpoint | None:
        """Its measured checkpoint, where it has one.

        Raises:
            InputError: the checkpoint is of another recipe, or broken.
        """
        path = self.folder / RESULT
        if not path.exists():
            return None
        found = load_checkpoint(path)
        wanted = load_recipe(self.row.recipe, self.row.words(self.seed)[1:])
        for key, asked, there in differences(wanted, found.recipe):
            if key != "classes":  # the data's
                raise InputError(
                    f"{self.folder}: trained with {key}={there}, and the sweep says {asked}; "
                    "expected a run of the same recipe. Name another --out, or remove the folder."
                )
        return found if found.measured else None


Told = Callable[[Run, Checkpoint], None]


def runs_of(plan: Plan, out: Path) -> list[Run]:
    """All runs, in their order."""
    return [Run(name, plan.rows[name], seed, out) for name, seed in plan.runs()]


def finish_all(
    runs: list[Run], source: DataSource, data: CocoData, jobs: int, words: Sequence[str], tell: Told
) -> None:
    """Run what is not finished; `tell` hears of each that now is.

    Args:
        runs: a row that is another's checkpoint behind that one.
        source: what is trained on.
        data: its val split.
        jobs: processes at a time.
        words: of each one's command line, the same for all.
        tell: called in this thread.

    Raises:
        TrainError: a run failed; the others were ended, and go on when all is asked for again.
        KeyboardInterrupt: Ctrl-C, likewise.
    """
    left = [run for run in runs if run.finished() is None]
    active: dict[Run, subprocess.Popen[bytes]] = {}
    with _ended(active):
        while left or active:
            while len(active) < jobs and (run := _startable(left, active)):
                left.remove(run)
                if run.row.of:
                    tell(run, _other_form(run, data))
                else:
                    active[run] = _start(run, [*shlex.split(source.words), *words])
            time.sleep(_LOOKED_EVERY_S)
            for run in [run for run, child in active.items() if child.poll() is not None]:
                tell(run, _result(run, active.pop(run).returncode))


def _startable(left: list[Run], active: dict[Run, subprocess.Popen[bytes]]) -> Run | None:
    """The next one whose source, if it has any, is finished."""
    waited_for = {(run.name, run.seed) for run in [*left, *active]}
    return next((run for run in left if (run.row.of, run.seed) not in waited_for), None)


def _start(run: Run, words: list[str]) -> subprocess.Popen[bytes]:
    resumed = ["--resume"] if (run.folder / STATE).exists() else []
    train = ["train", *run.row.words(run.seed), *words, "--out", str(run.folder), *resumed]
    command = [sys.executable, "-m", "maskrt", *train]
    run.out.mkdir(parents=True, exist_ok=True)
    with run.lines.open("ab") as lines:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )


def _other_form(run: Run, data: CocoData) -> Checkpoint:
    source = dataclasses.replace(run, name=run.row.of).folder / RESULT
    return measured_as(source, run.row.words(run.seed), run.folder / RESULT, data)


def _result(run: Run, code: int) -> Checkpoint:
    found = run.finished() if code == 0 else None
    if found is not None:
        return found
    said = run.lines.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    raise TrainError(
        f"{run.folder}: its process ended with exit code {code} ({said[:300]}); expected a "
        f"measured checkpoint. {run.lines} has all that it said; give the same command again."
    )


@contextlib.contextmanager
def _ended(active: dict[Run, subprocess.Popen[bytes]]) -> Iterator[None]:
    """Where the block fails its processes are asked to stop and waited for; asked again, killed."""
    try:
        yield
    except BaseException:
        try:
            for child in active.values():
                child.send_signal(signal.SIGINT)
            for child in active.values():
                child.wait()
        except KeyboardInterrupt:
            for child in active.values():
                child.kill()
        raise
