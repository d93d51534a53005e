"""`maskrt new`: an untrained checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_recipe, add_verb
from ..output import say


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "new", "write an untrained checkpoint", run)
    add_recipe(sub)
    sub.add_argument("-o", "--out", type=Path, required=True, help=".safetensors to write")
    sub.add_argument("--overwrite", action="store_true", help="replace --out and its .yaml")


def run(arguments: Arguments) -> Result:
    """Write it."""
    from ...workflows import new_checkpoint

    begun = new_checkpoint(
        arguments.recipe,
        arguments.out,
        arguments.overrides,
        backbone=arguments.backbone,
        weights=arguments.weights,
        overwrite=arguments.overwrite,
    )
    for line in begun.taken:
        say(line)
    print(f"{arguments.out}: untrained {begun.recipe.name}")
    return {"checkpoint": str(arguments.out)}
