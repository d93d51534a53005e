"""Which processors are known to cut sums of products in eight bits."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from maskrt.runtime.sessions.integers.processor import cuts_sums


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 cuts sums")
@pytest.mark.parametrize(
    ("line", "cuts"),
    [
        ("flags\t\t: fpu sse avx2", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("flags\t\t: fpu avx2 avx_vnni", False),
        ("model name\t: who knows", False),
    ],
)
def test_x86_without_vnni_cuts_sums(line: str, cuts: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert cuts_sums(tmp_path / "cpuinfo") is cuts


def test_where_nothing_is_said_nothing_is_known(tmp_path: Path) -> None:
    assert not cuts_sums(tmp_path / "absent")
