"""The commands of a page of the documentation, run word for word in a clean clone, and their time.

On a machine with other load seconds of processors say more than those of the clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError

ROOT = Path(__file__).parents[2]


def commands_of(page: Path) -> list[str]:
    """The lines of a page's first shell fence, what is said behind them left out."""
    text = page.read_text(encoding="utf-8")
    (fence,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)[:1]
    return [line.partition("  #")[0].rstrip() for line in fence.splitlines()]


@contextlib.contextmanager
def clean_clone() -> Iterator[Path]:
    """A clone of the last commit with an environment in which nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "maskrt"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        subprocess.run([sys.executable, "-m", "venv", str(clone / ".venv")], check=True)
        yield clone


def environment_of(clone: Path) -> dict[str, str]:
    """Variables of a shell in which the clone's environment is activated."""
    return {**os.environ, "PATH": f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def facts_of(clone: Path) -> dict[str, Any]:
    """The machine and the versions that were installed in the clone's environment."""
    script = (
        "import json; from maskrt.eval.machine.environment import environment; "
        "print(json.dumps(environment()))"
    )
    command = ["python", "-c", script]
    said = subprocess.check_output(command, cwd=clone.parent, env=environment_of(clone), text=True)
    facts: dict[str, Any] = json.loads(said)
    return facts


def walk(commands: Sequence[str], clone: Path) -> list[dict[str, Any]]:
    """Each command, its seconds and those of processors; it runs in `clone` and its environment.

    Raises:
        InputError: one failed.
    """
    return [_step(command, clone) for command in commands]


def _step(command: str, clone: Path) -> dict[str, Any]:
    print(command, file=sys.stderr, flush=True)
    began, before = time.monotonic(), _processor_seconds()
    ran = subprocess.run(command, shell=True, cwd=clone, env=environment_of(clone), check=False)
    if ran.returncode:
        raise InputError(
            f"{command}: ended with {ran.returncode}; expected 0. What it said is above."
        )
    return {
        "command": command,
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(_processor_seconds() - before, 1),
    }


def _processor_seconds() -> float:
    """Of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
