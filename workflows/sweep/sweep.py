"""`maskrt train --sweep`: every run of a sweep, its record and its tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...eval import DataSource, environment
from ...eval.datasets.source import source_of
from ...runtime.errors import InputError
from ...runtime.files import write_text
from ...train.shapes.drawing import draw_shapes
from ...train.weights.checkpoint import Checkpoint
from ..data import load_data, require_at_least_one
from .plan import Plan, load_plan
from .record import tables_of
from .runs import Run, finish_all, runs_of
from .tables import spoken, table_markdown

RECORD, TABLES, DATA = "tables.json", "tables.md", "data"


@dataclass(frozen=True)
class Swept:
    """What a sweep left in its folder."""

    record: Path
    """JSON: every row with its runs, parameters, MACs and the paper's figures."""
    tables: Path
    """Markdown, made of the record."""


def run_sweep(
    sweep: str | Path,
    out: Path,
    data: str | Path | DataSource | None = None,
    *,
    jobs: int = 1,
    workers: int = 1,
    backbone: Path | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Swept:
    """Train every row of a sweep with every seed, and tabulate what came of it.

    Finished runs are kept and cut-off ones go on, so the same call is repeated until all is there;
    record and tables are written again after every run.

    Args:
        sweep: a shipped one's name, or a YAML file (see `plan`).
        out: folder of all runs.
        data: labelled pictures; None draws the sweep's own shapes into `out`.
        jobs: runs at a time, each with one thread of torch.
        workers: processes that decode pictures, of each run.
        backbone: checkpoint whose body every trained row begins with; None is from scratch.
        on_step: told a line a run.

    Raises:
        ConfigError: the YAML, a recipe or an override is not valid.
        InputError: the data is not usable, or `out` holds runs of other recipes.
        TrainError: a run failed.
        KeyboardInterrupt: Ctrl-C; the runs keep their states.
    """
    require_at_least_one(jobs=jobs)
    tell = on_step or (lambda line: None)
    plan = load_plan(sweep)
    source = _source(plan, out, data)
    runs = runs_of(plan, out)
    validation = load_data(source)
    begun = sum(run.finished() is not None for run in runs)
    tell(f"{plan.where}: {len(runs)} runs, {begun} of them finished; {validation.told}")
    done = begun
    begin = () if backbone is None else ("--backbone", str(backbone))
    named = () if data is None else (source.words,)
    command = " ".join(("maskrt train --sweep", plan.where, *named, *begin, "--out", str(out)))

    def finished(run: Run, found: Checkpoint) -> None:
        nonlocal done
        done += 1
        tell(f"{run.folder.name}: {_measured(found)} ({done} of {len(runs)})")
        _write(plan, runs, command, out)

    _write(plan, runs, command, out)
    try:
        words = ("--workers", str(workers), *begin)
        finish_all(runs, source, validation, jobs, words, finished)
    except KeyboardInterrupt as err:
        said = f"stopped; {done} of {len(runs)} runs are finished. Go on with the same words."
        raise KeyboardInterrupt(said) from err
    return Swept(out / RECORD, out / TABLES)


def _source(plan: Plan, out: Path, data: str | Path | DataSource | None) -> DataSource:
    if data is not None:
        return source_of(data)
    if plan.shapes is None:
        raise InputError(
            f"{plan.where}: names no shapes to draw, and no --data is there; expected labelled "
            "pictures. Name some by --data DIR."
        )
    drawn = plan.shapes
    return source_of(
        draw_shapes(
            out / DATA,
            drawn.images,
            drawn.val_images,
            drawn.seed,
            sizes_hw=drawn.sizes_hw,
            kinds=drawn.kinds,
        )
    )


def _measured(found: Checkpoint) -> str:
    return ", ".join(f"{spoken(name)} {value:.1f}" for name, value in found.measured.items())


def _write(plan: Plan, runs: list[Run], command: str, out: Path) -> None:
    tables = tables_of(plan, runs)
    record: dict[str, Any] = {
        "what": "rows of a sweep, each trained with every seed",
        "command": command,
        "shapes": None if plan.shapes is None else dataclasses.asdict(plan.shapes),
        "seeds": list(plan.seeds),
        "tables": tables,
        "environment": environment(),
    }
    write_text(out / RECORD, json.dumps(record, indent=1) + "\n")
    parts = (f"## {table['title']}\n\n{table_markdown(table)}" for table in tables.values())
    write_text(out / TABLES, "\n".join(parts))
