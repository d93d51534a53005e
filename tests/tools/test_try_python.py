from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.tools.try_python import find_python


def test_an_interpreter_of_the_version_is_found() -> None:
    version = "{}.{}".format(*sys.version_info)
    told = subprocess.run([find_python(version), "-V"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith(f"Python {version}.")


def test_an_absent_version_is_named() -> None:
    with pytest.raises(InputError, match=r"Python 3\.99: not found .* pyenv install 3\.99"):
        find_python("3.99")


TESTS = """
import pytest

@pytest.fixture(scope="module")
def network():
    print("maskrt new: checkpoints need 3.11 or later", file=__import__("sys").stderr)
    raise AssertionError("assert 2 == 0")

def test_imports(): raise ModuleNotFoundError("No module named 'torch'")
def test_exports(network): pass
def test_exports_too(network): pass
def test_fails(): assert 2 == 0
def test_passes(): pass
"""


def test_what_needs_torch_is_skipped_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_all.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "maskrt.tools.without_torch", tmp_path]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    assert "1 failed, 1 passed, 4 skipped" in ran.stdout
    assert "FAILED test_some.py::test_fails" in ran.stdout
