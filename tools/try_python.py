"""Another Python than the one of .venv: what is promised for it, installed and tested.

    python -m maskrt.tools.try_python 3.10 [3.12 ...] [--keep DIR]

Python 3.10 is where JetPack 6 and TensorRT 8.6 are. It need not train or export, so torch stays
out: networks are made once by this Python, and the other one's tests open them. Exit code 1 where
a test fails. Downloads some 600 MB for each Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "cpu,engines,openvino,report,completion"
BESIDES = ("pytest", "nvidia-ml-py", "PyYAML", "safetensors")
FOLDERS = ("runtime", "engines", "eval", "cli", "workflows")
"""Of tests; what other Pythons are for."""
NETWORKS = "tests/workflows/test_open.py::test_options_are_arguments_or_stand_in_the_name"
"""A test that makes them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tests of `FOLDERS` under each Python; 1 when one fails."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("versions", nargs="+", metavar="VERSION", help="as 3.10")
    options.add_argument("--keep", type=Path, default=ROOT / "build", help="default: build")
    arguments = options.parse_args(argv)
    keep = arguments.keep.resolve()
    networks = keep / "networks"
    _make_networks(networks)
    codes = [_tested(version, keep, networks) for version in arguments.versions]
    return int(any(codes))


def find_python(version: str) -> Path:
    """An interpreter of a version ("3.10") on the path or among pyenv's.

    Raises:
        InputError: there is none that starts.
    """
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    there = [*filter(None, [shutil.which(f"python{version}")])]
    for path in (*map(Path, there), *sorted(home.glob(f"versions/{version}.*/bin/python"))):
        if _version_of(path) == version:
            return path
    raise InputError(
        f"Python {version}: not found on the path nor among pyenv's; expected an interpreter. "
        f"Install it: pyenv install {version}"
    )


def _version_of(python: Path) -> str:
    """Major and minor; "" where it does not start, as pyenv's names for what is not chosen."""
    code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else ""


def make_environment(home: Path, version: str, install: Iterable[str]) -> Path:
    """A new environment of a Python with these packages; returns its interpreter."""
    subprocess.run([str(find_python(version)), "-m", "venv", "--clear", str(home)], check=True)
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *install], check=True)
    return python


def _make_networks(folder: Path) -> None:
    """The files that the tests share, made anew by this Python, which has torch."""
    shutil.rmtree(folder, ignore_errors=True)
    words = [sys.executable, "-m", "pytest", "-q", "--chain", str(folder), NETWORKS]
    subprocess.run(words, cwd=ROOT, check=True)


def _tested(version: str, keep: Path, networks: Path) -> int:
    home = keep / f"python{version}"
    python = make_environment(home, version, ["-e", f"{ROOT}[{EXTRAS}]", *BESIDES])
    tests = [f"tests/{folder}" for folder in FOLDERS]
    options = ["-q", "-p", "maskrt.tools.without_torch", "--chain", str(networks)]
    words = [str(python), "-m", "pytest", *options, *tests]
    return subprocess.run(words, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
