from __future__ import annotations

from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.sources import source_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("c.PNG", "a.jpg", "clip.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_folder_gives_its_pictures_by_name_and_files_keep_their_place(folder: Path) -> None:
    clip = folder / "clip.mp4"
    found = source_files([clip, folder])
    assert found == [clip, folder / "a.jpg", folder / "c.PNG"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("absent.jpg", "no such file or folder"),
        ("notes.txt", "suffix '.txt'"),
        ("empty", "no picture in this folder"),
    ],
)
def test_a_wrong_source_is_named(folder: Path, name: str, found: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=rf"{name}: {found}"):
        source_files([folder / "a.jpg", folder / name])


def test_no_source_is_refused() -> None:
    with pytest.raises(InputError, match="no source"):
        source_files([])
