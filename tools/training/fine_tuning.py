"""What it is worth to start from trained weights: three kinds of shapes that they never saw.

    python -m maskrt.tools.training.fine_tuning --runs DIR --out eval/records/fine_tuning.json

60 drawn pictures of hourglasses, gears and bolts, 200 others to measure on, 300 steps of 4. From
all that fits of the shipped lsc_mask_rcnn_tiny, from its backbone alone, and from scratch; the same
recipe, budget and batches, two seeds each. A run that is finished is not run again and one that was
cut off goes on, so the command may be repeated until the record is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...eval import environment
from ...runtime.files import write_text
from ...train.run_folder import RESULT, STATE
from ...train.shapes.drawing import draw_shapes
from ...train.shapes.outlines import NEW_NAMES
from ...train.weights.checkpoint import load_checkpoint
from ...workflows import train_recipe
from ...workflows.shipped import CHECKPOINTS

RECIPE = "lsc_mask_rcnn_tiny"
DATA_SEED = 77
STARTS: dict[str, tuple[Path | None, Path | None]] = {
    "all that fits": (None, Path(RECIPE)),
    "backbone alone": (Path(RECIPE), None),
    "scratch": (None, None),
}
"""`backbone` and `weights` of each run."""
BUDGET = ("solver.batch=4", "solver.lr=0.02", "solver.warmup_steps=50")


def run_of(
    data: Path, out: Path, start: str, seed: int, steps: int, workers: int
) -> dict[str, Any]:
    """Accuracy and time of one run, from its folder where it is finished."""
    path, began = out / RESULT, time.monotonic()
    if not (path.exists() and load_checkpoint(path).measured):
        print(f"{start}, seed {seed}", file=sys.stderr, flush=True)
        train_recipe(
            RECIPE,
            data,
            out,
            (*BUDGET, f"solver.steps={steps}", f"solver.seed={seed}"),
            resume=(out / STATE).exists(),
            workers=workers,
            backbone=STARTS[start][0],
            weights=STARTS[start][1],
        )
        write_text(out / "seconds.txt", f"{time.monotonic() - began:.0f}\n")
    seconds = float((out / "seconds.txt").read_text())
    return {"start": start, "seed": seed, "seconds": seconds, **load_checkpoint(path).measured}


def measure(
    folder: Path, pictures: int, val_pictures: int, steps: int, seeds: int, workers: int
) -> dict[str, Any]:
    """The whole record; the runs are in `folder`."""
    data = draw_shapes(folder / "data", pictures, val_pictures, DATA_SEED, kinds=NEW_NAMES)
    runs = [
        run_of(data, folder / f"{start.replace(' ', '_')}_{seed}", start, seed, steps, workers)
        for seed in range(seeds)
        for start in STARTS
    ]
    mean = {
        start: sum(run["mask_ap"] for run in runs if run["start"] == start) / seeds
        for start in STARTS
    }
    best_other = max(value for start, value in mean.items() if start != "all that fits")
    return {
        "what": " ".join((__doc__ or "").split()),
        "commands": ["python -m maskrt.tools.training.fine_tuning --runs DIR --out FILE"],
        "recipe": RECIPE,
        "overrides": [*BUDGET, f"solver.steps={steps}"],
        "kinds": NEW_NAMES,
        "pictures": pictures,
        "val_pictures": val_pictures,
        "runs": runs,
        "mean_mask_ap": mean,
        "times_the_best_other": mean["all that fits"] / best_other if best_other > 0 else None,
        "environment": environment([CHECKPOINTS / f"{RECIPE}.safetensors"]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not yet trained, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="folder of data and runs")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--val-pictures", type=int, default=200)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(argv)
    record = measure(
        given.runs, given.pictures, given.val_pictures, given.steps, given.seeds, given.workers
    )
    write_text(given.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
