"""`maskrt train`: a recipe on labelled pictures; the result is measured on its val split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import (
    Arguments,
    Result,
    add_recipe,
    add_source,
    add_verb,
    data_source,
    required,
)
from ..output import print_tables, say


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "train", "train a recipe on labelled pictures", run)
    add_recipe(sub, optional=True)
    add_source(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")
    sub.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out; its overrides need not be repeated",
    )
    sub.add_argument("--workers", type=int, default=1, help="decoding processes (default 1)")
    sub.add_argument(
        "--sweep",
        metavar="NAME",
        help="instead of a recipe: a shipped sweep or a YAML file of rows, seeds and tables; "
        "finished runs in --out are kept",
    )
    sub.add_argument("--jobs", type=int, help="of --sweep: runs at a time (default 1)")


def run(arguments: Arguments) -> Result:
    """Train, and print the accuracy (the first rank only, under torchrun)."""
    _check(arguments)
    if arguments.sweep is not None:
        return _sweep(arguments)
    from ...eval import accuracy_tables
    from ...workflows import train_recipe

    trained = train_recipe(
        arguments.recipe,
        required(data_source(arguments)),
        arguments.out,
        arguments.overrides,
        resume=arguments.resume,
        workers=arguments.workers,
        backbone=arguments.backbone,
        weights=arguments.weights,
        on_step=say,
    )
    result = {"checkpoint": str(trained.checkpoint)}
    if trained.accuracy is None:
        return result
    print_tables(accuracy_tables([trained.accuracy]))
    return {**result, **trained.accuracy.measured}


def _check(arguments: Arguments) -> None:
    """InputError unless there is either a recipe or a sweep, with what belongs to it."""
    from ...runtime.errors import InputError

    if arguments.sweep is None:
        if arguments.recipe is None:
            raise InputError(
                "no recipe named; expected a shipped one's name, a YAML file or --sweep."
            )
        if arguments.jobs is not None:
            raise InputError(
                f"--jobs {arguments.jobs}: no --sweep found beside it; expected one, whose runs "
                "these are. Leave it away."
            )
        return
    beside = {
        "a recipe": arguments.recipe,
        "overrides": arguments.overrides,
        "--resume": arguments.resume,
        "--weights": arguments.weights,
    }
    if found := [name for name, value in beside.items() if value]:
        raise InputError(
            f"--sweep {arguments.sweep}: found {found[0]} beside it; expected none, since its file "
            "says what every row is. Write it there."
        )


def _sweep(arguments: Arguments) -> Result:
    """Run all that is left of a sweep, and print its tables."""
    from ...workflows import run_sweep

    jobs = 1 if arguments.jobs is None else arguments.jobs
    swept = run_sweep(
        arguments.sweep,
        arguments.out,
        data_source(arguments),
        jobs=jobs,
        workers=arguments.workers,
        backbone=arguments.backbone,
        on_step=say,
    )
    print(swept.tables.read_text(encoding="utf-8"))
    return {"record": str(swept.record), "tables": str(swept.tables)}
