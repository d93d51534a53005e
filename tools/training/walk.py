"""From labelled photographs to an engine as the documentation says it: each command and its time.

    python -m maskrt.tools.training.walk --data DIR --out eval/records/walk_cpu.json

The commands are the first ones of docs/start/photographs.md, run as they stand there, in a clean
clone with an environment of its own in which nothing is installed; DIR is a labelled folder, which
they call `garden`. A command that fails ends it. On a machine with other load seconds of processors
say more than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from ...runtime.files import write_text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "start" / "photographs.md"
DATA = "garden"


def commands_of(page: str) -> list[str]:
    """The lines of a page's first shell fence, what is said behind them left out."""
    (fence,) = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)[:1]
    return [line.partition("  #")[0] for line in fence.splitlines()]


def walk(commands: Sequence[str], clone: Path) -> list[dict[str, Any]]:
    """Each command, its seconds and those of processors; it runs in `clone` and its environment.

    Raises:
        InputError: one failed.
    """
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    steps = []
    for command in commands:
        print(command, file=sys.stderr, flush=True)
        began, before = time.monotonic(), _processor_seconds()
        ran = subprocess.run(
            command, shell=True, cwd=clone, env={**os.environ, "PATH": path}, check=False
        )
        if ran.returncode:
            raise InputError(
                f"{command}: ended with {ran.returncode}; expected 0. What it said is above."
            )
        seconds = {
            "seconds": round(time.monotonic() - began, 1),
            "processor_seconds": round(_processor_seconds() - before, 1),
        }
        steps.append({"command": command, **seconds})
    return steps


def _processor_seconds() -> float:
    """Of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(data: Path) -> dict[str, Any]:
    """The record."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "maskrt"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        subprocess.run([sys.executable, "-m", "venv", str(clone / ".venv")], check=True)
        (clone / DATA).symlink_to(data.resolve(), target_is_directory=True)
        steps = walk(commands_of(PAGE.read_text(encoding="utf-8")), clone)
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
