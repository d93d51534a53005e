"""`maskrt new`: an untrained checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_recipe, add_verb


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "new", "write an untrained checkpoint", run)
    add_recipe(sub)
    sub.add_argument("-o", "--out", type=Path, required=True, help=".safetensors to write")
    sub.add_argument("--overwrite", action="store_true", help="replace --out and its .yaml")


def run(arguments: Arguments) -> Result:
    """Write it."""
    from ...workflows import new_checkpoint

    recipe = new_checkpoint(
        arguments.recipe,
        arguments.out,
        arguments.overrides,
        backbone=arguments.backbone,
        overwrite=arguments.overwrite,
    )
    print(f"{arguments.out}: untrained {recipe.name}")
    return {"checkpoint": str(arguments.out)}
