"""`maskrt data`: a COCO-format data set that the project draws itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_verb


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "data", "draw a COCO-format data set of textured shapes", run)
    sub.add_argument("kind", choices=["shapes"])
    sub.add_argument("--out", type=Path, required=True, help="folder to write")
    sub.add_argument("--images", type=int, default=2000, help="training pictures (default 2000)")
    sub.add_argument("--val-images", type=int, default=200, help="val pictures (default 200)")
    sub.add_argument("--seed", type=int, default=0)


def run(arguments: Arguments) -> Result:
    """Draw it."""
    from ...workflows import draw_data

    draw_data(arguments.out, arguments.images, arguments.val_images, arguments.seed)
    print(f"{arguments.out}: {arguments.images} train and {arguments.val_images} val pictures")
    return {"out": str(arguments.out)}
