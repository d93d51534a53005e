"""Readers under changed input: every case ends in a result or in one sentence of ours.

    python -m maskrt.tools.fuzz READER... [--cases 300] [--seed 0]

Each case runs in a process of its own, with 20 s and 4 GB. The table counts how the cases ended
and says the most memory that one of them took, imports included; tracebacks and what ended by a
signal are listed with their seed. Exit code 1 when there is one. Linux only.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ...runtime.errors import MaskRTError
from .reader import Reader
from .readers import READERS

LIMIT_S = 20
LIMIT_BYTES = 4 << 30
ENDS = ("clean error", "accepted", "traceback", "signal", "hang")
_CODES = {0: "accepted", 2: "clean error", 3: "traceback"}


@dataclass(frozen=True)
class Ended:
    """How one case ended."""

    seed: int
    how: str
    """One of `ENDS`."""
    peak_mb: float
    """Of memory, imports included."""
    text: str
    """The sentence or the traceback."""


def change(reader: Reader, folder: Path, seed: int) -> None:
    """Write the reader's input into `folder`, changed as `seed` decides."""
    path = reader.write(folder)
    path.write_bytes(reader.mutate(path.read_bytes(), Random(seed)))


def run_here(reader: Reader, folder: Path) -> tuple[str, str]:
    """Read a changed input in this process: how it ended, and what was said."""
    try:
        reader.read(folder)
    except MaskRTError as err:
        return "clean error", str(err)
    except Exception:
        return "traceback", traceback.format_exc()
    return "accepted", ""


def run_case(reader: Reader, seed: int) -> Ended:
    """One case in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, said = Path(name) / "input", Path(name) / "said"
        folder.mkdir()
        change(reader, folder, seed)
        child = os.fork()
        if child == 0:
            _child(reader, folder, said)
        _, status, usage = os.wait4(child, 0)
        text = said.read_text() if said.exists() else ""
    peak_mb = usage.ru_maxrss / 1024
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        how = "hang" if number == signal.SIGALRM else "signal"
        return Ended(seed, how, peak_mb, signal.Signals(number).name)
    return Ended(seed, _CODES.get(os.WEXITSTATUS(status), "signal"), peak_mb, text)


def _child(reader: Reader, folder: Path, said: Path) -> None:
    """Read, write down what was said, leave without the parent's exit handlers."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends loops in C too
    signal.alarm(LIMIT_S)
    resource.setrlimit(resource.RLIMIT_AS, (_mapped_bytes() + LIMIT_BYTES,) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    how, text = run_here(reader, folder)
    said.write_text(text, errors="backslashreplace")
    os._exit(next(code for code, name in _CODES.items() if name == how))


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz some readers, print a table; 1 when a case ended otherwise than it may."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("readers", nargs="+", choices=READERS, metavar="READER")
    options.add_argument("--cases", type=int, default=300)
    options.add_argument("--seed", type=int, default=0, help="of the first case")
    arguments = options.parse_args(argv)
    print("| reader | cases | " + " | ".join(ENDS) + " | greatest MB |")
    print("|---" * (len(ENDS) + 3) + "|")
    bad: list[tuple[str, Ended]] = []
    for name in arguments.readers:
        with tempfile.TemporaryDirectory() as folder:  # whole input first: it imports what is used
            READERS[name].write(Path(folder))
            READERS[name].read(Path(folder))
        seeds = range(arguments.seed, arguments.seed + arguments.cases)
        ended = [run_case(READERS[name], seed) for seed in seeds]
        counts = Counter(one.how for one in ended)
        peak = max(one.peak_mb for one in ended)
        print(f"| {name} | {len(ended)} | " + " | ".join(str(counts[how]) for how in ENDS), end="")
        print(f" | {peak:.0f} |", flush=True)
        bad += [(name, one) for one in ended if one.how not in ENDS[:2]]
    for name, one in bad:
        print(f"\n{name} seed {one.seed}: {one.how}\n{one.text}")
    return int(bool(bad))
