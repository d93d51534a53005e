"""Parts of a prediction put together are one process's, byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import pyarrow.parquet as pq

Command = Callable[..., Any]


@pytest.fixture
def sources(labelled: Path, tmp_path: Path) -> tuple[Path, ...]:
    """Fourteen pictures, a broken one, a video, and a picture of a name that is there already."""
    folder = labelled / "val"
    (folder / "03b.png").write_bytes((folder / "03.png").read_bytes()[:200])
    video = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (96, 64))
    for value in (90, 130, 250):
        writer.write(np.full((64, 96, 3), value, np.uint8))
    writer.release()
    again = tmp_path / "again" / "05.png"
    again.parent.mkdir()
    shutil.copyfile(folder / "05.png", again)
    return folder, video, again


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_shards_merged_are_one_process(
    tiny: Path, sources: tuple[Path, ...], maskrt: Command, tmp_path: Path
) -> None:
    """Overlays too; the broken picture costs itself alone, in the part that has it."""
    choice = ("--score", "disc=0.5,0.7", "--most", 1, "--nms-iou", 0.9, "--frames", 2)
    once = maskrt("predict", tiny, *sources, "--out", tmp_path / "once", *choice, "--json")
    assert (once.code, len(once.json["broken"])) == (2, 1)
    parts = ("predict", tiny, *sources, "--out", tmp_path / "parts", *choice)
    for number in (2, 3, 1):
        ran = maskrt(*parts, "--shard", f"{number}/3", "--json")
        assert (ran.code, ran.json["was_done"]) == (0, False)
    assert maskrt(*parts, "--shard", "2/3", "--json").json["was_done"] is True
    merged = maskrt(*parts, "--merge", "--json")
    assert merged.json == {**once.json, "results": str(tmp_path / "parts" / "results.json")}
    assert merged.err == once.err
    made = contents(tmp_path / "parts")
    assert made.pop("manifest.json")
    assert made == contents(tmp_path / "once")
    rows = pq.read_table(tmp_path / "parts" / "shards")  # as any reader of Parquet has them
    assert rows.num_rows == once.json["pictures"] + 1


def test_what_cannot_be_in_parts_is_refused(
    tiny: Path, sources: tuple[Path, ...], maskrt: Command, tmp_path: Path
) -> None:
    command = ("predict", tiny, *sources, "--out", tmp_path / "parts", "--shard", "1/2")
    for more, sentence in (
        (("--compare", tiny), "--compare or --server found beside --shard"),
        (("--server", "http://127.0.0.1:9"), "--compare or --server found beside --shard"),
        (("--classes", "cup"), "cup"),
        (("--score", "2"), "expected a score from 0 to 1"),
    ):
        ran = maskrt(*command, *more)
        assert (ran.code, sentence in ran.err) == (2, True), ran.err
    camera = maskrt("predict", tiny, "rtsp://host/a", "--out", tmp_path / "c", "--shard", "1/2")
    assert (camera.code, "a camera; expected files" in camera.err) == (2, True), camera.err
    assert not list(tmp_path.glob("*/shards"))
    assert maskrt(*command).code == 0
    other = maskrt(*command[:-1], "2/2", "--score", 0.6)
    assert (other.code, "other settings found" in other.err) == (2, True), other.err
