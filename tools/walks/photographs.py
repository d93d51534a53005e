"""From labelled photographs to an engine as the documentation says it: each command and its time.

    python -m maskrt.tools.walks.photographs --data DIR --out eval/records/walk_cpu.json

The commands are the first ones of docs/start/photographs.md, run as they stand there, in a clean
clone with an environment of its own in which nothing is installed; DIR is a labelled folder, which
they call `garden`. A command that fails ends it. On a machine with other load seconds of processors
say more than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...runtime.files import write_text
from .steps import ROOT, clean_clone, commands_of, walk

PAGE = ROOT / "docs" / "start" / "photographs.md"
DATA = "garden"


def measure(data: Path) -> dict[str, Any]:
    """The record."""
    with clean_clone() as clone:
        (clone / DATA).symlink_to(data.resolve(), target_is_directory=True)
        steps = walk(commands_of(PAGE), clone)
        report = json.loads((clone / "out" / "run" / "report.json").read_text())
    return {
        "what": " ".join((__doc__ or "").split()),
        "steps": steps,
        "pictures": report["dataset"],
        "accuracy": report["accuracy"],
        "environment": report["environment"],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Walk and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    write_text(arguments.out, json.dumps(measure(arguments.data), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
