"""Where a training step's time goes, in this code and in an older commit's, in turns.

    python -m maskrt.tools.training.step_time --before REV --out eval/records/training_step_cpu.json

Two processes a recipe, one of each code, train on the same drawn pictures with two workers and one
thread, and take steps in turns (`step_parts`). What two workers can load, with nobody training, is
held against what one process can train on, with nothing to load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from ...eval import environment, to_json
from ...runtime.errors import InputError
from ...runtime.files import write_text
from ...train.recipes.recipe import load_recipe
from ...workflows import draw_data
from . import step_parts

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ("lsc_mask_rcnn_tiny", "fastmask_tiny")
WORKERS = 2
PREPARED = 3 * WORKERS
"""Batches that workers have made or begun while nobody asked, and more."""
LOADED = 4
"""Batches that are loaded for each that is trained on, which takes that much longer."""
PICTURES = 64


class Stepping(AbstractContextManager["Stepping"]):
    """A process that takes steps of a recipe with one code."""

    def __init__(self, code: Path, recipe: str, data: Path) -> None:
        """Start it; `code` is a folder with the package in it as `maskrt`."""
        words = [sys.executable, step_parts.__file__, recipe, str(data), str(WORKERS)]
        around = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            words, env=around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=code
        )

    def ask(self, word: str, count: int) -> dict[str, float]:
        """Milliseconds by part of so many steps; see `step_parts`."""
        assert self._process.stdin is not None, "as started"
        assert self._process.stdout is not None, "as started"
        print(word, count, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise InputError("a step: the process ended; expected its times. Its words are above.")
        taken: dict[str, float] = json.loads(line)
        return taken

    def a_second(self, word: str, count: int) -> float:
        """Steps a second, after as many as were prepared or warm up."""
        self.ask(word, PREPARED if word == "load" else 1)
        return 1000 * count / self.ask(word, count)["total"]

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def code_of(revision: str | None, folder: Path) -> Path:
    """A folder with the package as `maskrt`: of a commit, or of now where there is none given."""
    folder.mkdir()
    if revision is None:
        (folder / "maskrt").symlink_to(ROOT)
        return folder
    (folder / "maskrt").mkdir()
    archive = ["git", "-C", str(ROOT), "archive", revision]
    done = subprocess.run(archive, capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"--before {revision}: {done.stderr.decode().strip()}. Name a commit.")
    subprocess.run(["tar", "-x", "-C", str(folder / "maskrt")], input=done.stdout, check=True)
    return folder


def measured(
    codes: Mapping[str, Path], recipe: str, data: Path, turns: int, steps: int
) -> dict[str, Any]:
    """Each code's milliseconds a step by part, turn by turn, and pictures a second of the parts."""
    batch = load_recipe(recipe).solver.pictures
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in codes}
    rates: dict[str, dict[str, float]] = {}
    for name, code in codes.items():
        with Stepping(code, recipe, data) as alone:
            rates[name] = {
                "loaded": batch * alone.a_second("load", LOADED * steps),
                "trained": batch * alone.a_second("held", steps),
            }
    running = {name: Stepping(code, recipe, data) for name, code in codes.items()}
    try:
        for process in running.values():
            process.ask("turn", 1)
        for turn in range(turns):
            for name in list(running)[:: 1 if turn % 2 else -1]:
                ms = running[name].ask("turn", steps)
                taken[name].append({part: value / steps for part, value in ms.items()})
    finally:
        for process in running.values():
            process.__exit__()
    return {"batch": batch, "ms": taken, "pictures_per_s": rates, "summary": summary(taken)}


def summary(taken: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Median ms a step and shares of the time of each code; how much faster the last is."""
    found: dict[str, Any] = {}
    for name, turns in taken.items():
        totals = np.array([turn["total"] for turn in turns])
        parts = (*step_parts.PARTS, "rest")
        shares = {p: sum(turn.get(p, 0) for turn in turns) / totals.sum() for p in parts}
        found[name] = {"step_ms": float(np.median(totals)), "shares": shares}
    first, *_, last = (found[name]["step_ms"] for name in taken)
    return found | {"faster": first / last}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", required=True, metavar="REV", help="the older commit")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--steps", type=int, default=8, help="of a turn")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = draw_data(folder / "shapes", PICTURES, 1)
        codes = {
            "before": code_of(arguments.before, folder / "before"),
            "now": code_of(None, folder / "now"),
        }
        rows = {
            recipe: measured(codes, recipe, data, arguments.turns, arguments.steps)
            for recipe in arguments.recipes
        }
    words = sys.argv[1:] if argv is None else argv
    record = {
        "what": (__doc__ or "").partition("\n")[0],
        "command": " ".join(["python -m maskrt.tools.training.step_time", *words]),
        "environment": to_json(environment([])),
        "before": arguments.before,
        "workers": WORKERS,
        "recipes": rows,
    }
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
