"""The service of tests/serving/service, and a Chromium where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from maskrt.tools.page.chromium import Browser, browser, chromium_path

from ...runtime.conftest import tiny_contract, write_onnx
from ..service.conftest import start

__all__ = ["start", "tiny_contract", "write_onnx"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium on this machine")
    with browser(path) as opened:
        yield opened
