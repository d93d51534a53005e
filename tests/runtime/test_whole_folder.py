"""Folders are whole or absent, and what was there stays until the new one is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.whole_folder import whole_folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_that_is_being_filled_is_left_alone(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as first:
        (first / "a").write_text("")
        with pytest.raises(ValueError, match="given up"), whole_folder(tmp_path / "out"):
            raise ValueError("given up")
    assert names(tmp_path) == ["out", "out/a"]


def test_a_folder_is_replaced_where_that_is_asked_for_and_only_by_a_whole_one(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as first:
        (first / "old").write_text("")
    with pytest.raises(InputError, match="could not be written"), whole_folder(out) as second:
        (second / "new").write_text("")
    with pytest.raises(ValueError, match="given up"), whole_folder(out, replace=True):
        raise ValueError("given up")
    assert names(tmp_path) == ["out", "out/old"]
    with whole_folder(out, replace=True) as third:
        (third / "new").write_text("")
    assert names(tmp_path) == ["out", "out/new"]
