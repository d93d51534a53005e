"""`maskrt demo`: the main job on this machine with the shipped checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import Arguments, Result, add_verb
from ..output import print_tables


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "the whole chain on this machine with the shipped checkpoints"
    sub = add_verb(verbs, "demo", text, run)
    sub.add_argument("--out", type=Path, default=Path("out/demo"), help="folder (default out/demo)")
    sub.add_argument("--images", type=int, default=60, help="pictures evaluated (default 60)")


def run(arguments: Arguments) -> Result:
    """Run it and print its tables."""
    from ...workflows import run_demo

    demo = run_demo(arguments.out, arguments.images, on_step=print)
    print_tables(demo.tables)
    for line in (*demo.summary, f"Report: {demo.report}"):
        print(line)
    return {
        "report": str(demo.report),
        "engines": [str(path) for path in demo.engines],
        "accuracy": {a.name: {"box": a.box, "mask": a.mask} for a in demo.accuracies},
        "exit_code": 0 if demo.passed else 1,
    }
