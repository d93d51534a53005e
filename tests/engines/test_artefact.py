from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maskrt.engines.artefact import write_pair
from maskrt.runtime.errors import InputError


def text(value: str) -> Any:
    return SimpleNamespace(to_json=lambda: value)


def test_pair_is_replaced_as_one(tmp_path: Path) -> None:
    engine = tmp_path / "new folder" / "x.engine"
    for name in ("first", "second"):
        beside = write_pair(engine, name.encode(), text(name))
        assert (engine.read_text(), beside.read_text()) == (name, name)
    assert sorted(p.name for p in engine.parent.iterdir()) == ["x.engine", "x.engine.json"]


@pytest.mark.parametrize("older", [True, False], ids=["older pair", "no pair"])
@pytest.mark.parametrize("failing", ["x.engine", "x.engine.json"])
def test_when_either_rename_fails_the_pair_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool, failing: str
) -> None:
    engine = tmp_path / "x.engine"
    if older:
        write_pair(engine, b"old", text("old"))
    before = {p.name: p.read_text() for p in tmp_path.iterdir()}
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == failing and self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="Input/output error"):
        write_pair(engine, b"new", text("new"))
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == before


def test_what_a_killed_build_left_is_in_nobodys_way(tmp_path: Path) -> None:
    engine = tmp_path / "x.engine"
    left = [".x.engine.previous", ".x.engine.abc.tmp", ".x.engine.json.abc.tmp"]
    for name in left:
        (tmp_path / name).write_text("half")
    write_pair(engine, b"new", text("new"))
    assert engine.read_text() == "new"
    names = {p.name for p in tmp_path.iterdir()}
    assert names - {"x.engine", "x.engine.json"} <= set(left)
    write_pair(engine, b"newer", text("newer"))  # over a pair the older name is used, and goes
    assert ".x.engine.previous" not in {p.name for p in tmp_path.iterdir()}


def test_pair_is_replaced_where_files_cannot_have_two_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", unsupported)
    engine = tmp_path / "x.engine"
    for name in ("first", "second"):
        write_pair(engine, name.encode(), text(name))
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "x.engine": "second",
        "x.engine.json": "second",
    }


def test_full_disk_on_the_sidecar_keeps_the_older_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "x.engine"
    write_pair(engine, b"old", text("old"))

    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left"):
        write_pair(engine, b"new", text("new"))
    assert {p.name for p in tmp_path.iterdir()} == {"x.engine", "x.engine.json"}
    assert engine.read_bytes() == b"old"
