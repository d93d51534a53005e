"""`maskrt train`: a recipe on a COCO-format data set; the result is measured on its val split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_recipe, add_verb
from ..output import print_tables


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "train", "train a recipe on a COCO-format data set", run)
    add_recipe(sub)
    sub.add_argument("--data", type=Path, required=True, help="folder with annotations/ and train/")
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
        arguments.data,
        arguments.out,
        arguments.overrides,
        resume=arguments.resume,
        workers=arguments.workers,
        backbone=arguments.backbone,
        weights=arguments.weights,
    )
    result = {"checkpoint": str(trained.checkpoint)}
    if trained.accuracy is None:
        return result
    print_tables(accuracy_tables([trained.accuracy]))
    return {**result, **trained.accuracy.measured}
