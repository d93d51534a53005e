"""`maskrt serve` as a process of its own, watched from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import InputError

START_S = 120.0


@dataclass(frozen=True)
class Served:
    """A service that answers."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    """Its standard error."""

    @property
    def rss_bytes(self) -> int:
        """Its resident set (/proc; Linux only)."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii")
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_s(self) -> float:
        """Processor time that it has taken, in seconds; in steps of about 0.01."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def files(self) -> int:
        """Its open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None


@contextlib.contextmanager
def served(model: str, *options: str) -> Iterator[Served]:
    """Start `maskrt serve MODEL` on a free port; the end of the block stops it.

    Raises:
        InputError: it did not start; its own sentence is quoted.
    """
    command = [sys.executable, "-m", "maskrt", "serve", model, "--port", "0", *options]
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        with log.open("w") as file, subprocess.Popen(command, stderr=file, text=True) as process:
            try:
                yield Served(_address(log, process), process, log)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                finally:
                    process.kill()


def _address(log: Path, process: subprocess.Popen[str]) -> str:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("http://"):
                return line.split()[0]
        time.sleep(0.1)
    raise InputError(f"maskrt serve did not start: {log.read_text()[-500:]}")
