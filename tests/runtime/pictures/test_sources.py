from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.sources import skipped_files, source_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("c.PNG", "a.jpg", "clip.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_folder_gives_its_pictures_by_name_and_files_keep_their_place(folder: Path) -> None:
    clip = folder / "clip.mp4"
    found = source_files([clip, folder])
    assert found == [clip, folder / "a.jpg", folder / "c.PNG"]


def test_what_a_folder_holds_beside_pictures_is_counted(folder: Path) -> None:
    for name in ("more.TXT", "README", ".hidden", "moving.gif", "small.avif"):
        (folder / name).write_bytes(b"")
    (folder / "subfolder.txt").mkdir()
    assert skipped_files([folder, folder / "clip.mp4"]) == {".txt": 2, ".mp4": 1, "no suffix": 1}
    assert [path.name for path in source_files([folder])] == [
        *("a.jpg", "c.PNG", "moving.gif", "small.avif")
    ]


@pytest.mark.parametrize("look", [source_files, skipped_files])
def test_an_address_and_a_name_that_is_no_path_are_named(
    look: Callable[[list[Path]], object],
) -> None:
    with pytest.raises(InputError, match=r"^https://example\.org/a\.jpg: an address"):
        look([Path("https://example.org/a.jpg")])
    with pytest.raises(InputError, match=r"x{80}\.\.\.: could not be read .File name too long"):
        look([Path("x" * 5000)])


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
