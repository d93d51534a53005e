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
    add_recipe(sub)
    add_source(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")
    sub.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out; its overrides need not be repeated",
    )
    sub.add_argument("--workers", type=int, default=1, help="decoding processes (default 1)")


def run(arguments: Arguments) -> Result:
    """Train, and print the accuracy (the first rank only, under torchrun)."""
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
