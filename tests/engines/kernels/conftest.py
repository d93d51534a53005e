"""Triton's interpreter, which runs the kernels on a CPU, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def in_interpreter() -> Callable[..., None]:
    """Run a script of this folder with kernels interpreted."""
    pytest.importorskip("triton", reason="triton is not installed")

    def run(script: str, *arguments: Path) -> None:
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name(script), *arguments],
            env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return run


@pytest.fixture(scope="session")
def interpret(
    in_interpreter: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What the kernels make of many cases, all in one process; see `interpret_kernels.py`."""

    def results(cases: dict[str, Any]) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("interpreter")
        np.savez(folder / "cases.npz", **cases)
        in_interpreter("interpret_kernels.py", folder / "cases.npz", folder / "results.npz")
        return dict(np.load(folder / "results.npz"))

    return results
