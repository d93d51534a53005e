"""NVIDIA's own timing tool on the same engine, beside our engine scope.

`trtexec` queues one inference ahead of the one it times and feeds random inputs, so on detectors it
may be a little faster than a single call on pictures; far apart, one of the two is wrong. From
version 11 on it captures a CUDA graph unless told otherwise, before it does not: the version is
shown. Source: TensorRT 8.6 to 11 samples/common (sampleOptions.h, sampleReporting.cpp):
`--exportTimes` writes one object per iteration, `computeMs` being the GPU's part.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..report.table import NOT_AVAILABLE, Table
from .latency import BackendLatency, Bench

TOOL = "trtexec"
FLAVOUR = "tensorrt"
"""Engines of TensorRT-RTX need another tool, which has no such option."""
ABSENT = "trtexec: not on PATH, so engine times have no second opinion."
TIMEOUT_S = 600
_NOTE = (
    "Medians. ratio: ours over trtexec's, which feeds random inputs, queues one inference ahead "
    "and, from version 11 on, captures a CUDA graph."
)


@dataclass(frozen=True)
class TrtexecCheck:
    """One engine timed by both."""

    DERIVED: ClassVar = ("median_ms", "ratio")

    name: str
    sha256: str
    version: str
    """Of trtexec, as it prints it; "" where it does not."""
    samples_ms: tuple[float, ...]
    """Its GPU compute times; empty where it failed."""
    engine_ms: float | None
    """Our engine scope's median; None where the session does not offer it."""
    failure: str = ""
    """Why it has no times."""

    @property
    def median_ms(self) -> float | None:
        """Of trtexec's times."""
        return float(np.median(self.samples_ms)) if self.samples_ms else None

    @property
    def ratio(self) -> float | None:
        """Our median over trtexec's."""
        median_ms = self.median_ms
        return self.engine_ms / median_ms if self.engine_ms and median_ms else None


def check_engines(result: Bench, engines: Mapping[str, Path]) -> tuple[TrtexecCheck, ...] | None:
    """Time every TensorRT engine of a bench with trtexec.

    Args:
        result: the bench, already over: both never run at once.
        engines: the engine files of its rows, by row name.

    Returns:
        One check per such row, none where there is none; None where trtexec would be needed and is
        not on PATH.
    """
    rows = [b for b in result.backends if b.backend == FLAVOUR and b.name in engines]
    if not rows:
        return ()
    tool = shutil.which(TOOL)
    if tool is None:
        return None
    return tuple(_check(tool, backend, engines[backend.name]) for backend in rows)


def _check(tool: str, backend: BackendLatency, engine: Path) -> TrtexecCheck:
    ours = backend.summaries.get("engine")
    engine_ms = None if ours is None else ours.p50_ms
    calls = backend.summaries["model"].samples
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder, "times.json")
        try:
            done = subprocess.run(
                _command(tool, engine, calls, times),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as err:
            failure = f"it could not run ({err})"
            return TrtexecCheck(backend.name, backend.sha256, "", (), engine_ms, failure)
        samples_ms, failure = _read(done, times)
    version = _version(done.stdout)
    return TrtexecCheck(backend.name, backend.sha256, version, samples_ms, engine_ms, failure)


def _command(tool: str, engine: Path, calls: int, times: Path) -> list[str]:
    return [
        tool,
        f"--loadEngine={engine}",
        f"--iterations={calls}",
        f"--exportTimes={times}",
        # the defaults since version 11, which ignores them
        "--useSpinWait",
        "--noDataTransfers",
    ]


def _read(done: subprocess.CompletedProcess[str], times: Path) -> tuple[tuple[float, ...], str]:
    """Its samples, or why there are none."""
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if "[E]" in line] or said or ["nothing"]
        return (), f"exit code {done.returncode}, it said: {errors[-1]}"
    try:
        rows = json.loads(times.read_text(encoding="utf-8"))
        samples_ms = tuple(float(row["computeMs"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as err:
        return (), f"its times are unreadable ({type(err).__name__}: {err})"
    return (samples_ms, "") if samples_ms else ((), "it wrote no times")


def _version(text: str) -> str:
    """From its first line, e.g. `&&&& RUNNING TensorRT.trtexec [TensorRT v101300] [b35]`."""
    found = re.search(r"\[TensorRT v(\d+)\]", text)
    return found.group(1) if found else ""


def trtexec_table(checks: Sequence[TrtexecCheck]) -> Table:
    """One row per engine."""
    return Table(
        title="Engine scope beside trtexec",
        columns=("model", "engine ms", "trtexec ms", "ratio", "iterations", "trtexec version"),
        rows=tuple(_row(check) for check in checks),
        notes=(
            _NOTE,
            *(f"FAILED trtexec on {check.name}: {check.failure}." for check in _failed(checks)),
        ),
        keys=1,
    )


def _failed(checks: Sequence[TrtexecCheck]) -> list[TrtexecCheck]:
    return [check for check in checks if check.failure]


def _row(check: TrtexecCheck) -> tuple[str, ...]:
    return (
        check.name,
        _cell(check.engine_ms, "{:.3f}"),
        _cell(check.median_ms, "{:.3f}"),
        _cell(check.ratio, "{:.3f}x"),
        str(len(check.samples_ms)),
        check.version or NOT_AVAILABLE,
    )


def _cell(value: float | None, form: str) -> str:
    return NOT_AVAILABLE if value is None else form.format(value)
