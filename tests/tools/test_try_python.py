from __future__ import annotations

import subprocess
import sys

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
