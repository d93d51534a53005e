from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.camera import Camera
from maskrt.runtime.pictures.named import named_sources


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.JPG", "a.png", "clip.mp4", "notes.txt", "deep/er/c.png", "odd[1].png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def listed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def test_patterns_give_pictures_and_videos_by_name(photos: Path) -> None:
    assert named_sources(["photos/[ab]*", "photos/*.mp4"]) == [
        *(Path("photos/a.png"), Path("photos/b.JPG"), Path("photos/clip.mp4"))
    ]
    assert Path("photos/deep/er/c.png") in named_sources(["photos/**/*"])
    assert Path("photos/notes.txt") not in named_sources(["photos/**/*"])


def test_a_file_of_that_name_comes_before_pattern_and_camera(photos: Path) -> None:
    (photos.parent / "0").mkdir()
    assert named_sources(["photos/odd[1].png", "0", "1", photos]) == [
        *(Path("photos/odd[1].png"), Path("0"), Camera(1), photos)
    ]


def test_standard_input_lists_sources(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, b"photos/a.png\r\n\nphotos/*.mp4\ncamera:3\nphotos/\xff.png\n")
    found = named_sources(["first.png", "-"])
    assert found[:4] == [
        Path("first.png"),
        Path("photos/a.png"),
        Path("photos/clip.mp4"),
        Camera(3),
    ]
    assert bytes(found[4]) == b"photos/\xff.png"  # type: ignore[arg-type]
    for nothing in (b"", b"\n \n"):
        listed(monkeypatch, nothing)
        with pytest.raises(InputError, match=r"^-: standard input names nothing; expected"):
            named_sources(["-"])


def test_what_fits_nothing_is_refused(photos: Path) -> None:
    with pytest.raises(InputError, match=r"^photos/\*\.bmp: fits no picture .*nothing found"):
        named_sources(["photos/*.bmp"])
    with pytest.raises(InputError, match=r"^photos/\*\.txt: fits no picture .*1 others found"):
        named_sources(["photos/*.txt"])
    assert named_sources(["https://h/a.jpg?b=*"]) == [Path("https://h/a.jpg?b=*")]
