"""Parts of an evaluation put together are one process's, to the last digit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from maskrt.eval.coco.results import MatchTable
from maskrt.workflows.sharding.evaluation import rows_of, tables_of

Command = Callable[..., Any]


def test_two_shards_merged_are_one_process(
    tiny: Path, labelled: Path, maskrt: Command, tmp_path: Path
) -> None:
    command = ("eval", tiny, "--data", labelled)
    parts = (*command, "--out", tmp_path / "parts")
    once = maskrt(*command, "--json")
    assert once.code == 0, once.err
    assert 0 < once.json["mask"]["AP"] < once.json["box"]["AP50"] < 100
    early = maskrt(*parts, "--merge")
    assert (early.code, "Run the shards first" in early.err) == (2, True)
    assert maskrt(*parts, "--shard", "2/2").code == 0
    early = maskrt(*parts, "--merge")
    assert (early.code, "1 of 2 shards missing (1)" in early.err) == (2, True)
    assert maskrt(*parts, "--shard", "1/2", "--json").json["was_done"] is False
    assert maskrt(*parts, "--shard", "1/2", "--json").json["was_done"] is True
    merged = maskrt(*parts, "--merge", "--json")
    assert merged.json == once.json
    assert merged.out == once.out


def test_more_shards_than_pictures_are_still_one_process(
    tiny: Path, labelled: Path, maskrt: Command, tmp_path: Path
) -> None:
    command = ("eval", tiny, "--data", labelled, "--first", 2)
    parts = (*command, "--out", tmp_path / "parts")
    for number in (3, 1, 2):
        assert maskrt(*parts, "--shard", f"{number}/3").code == 0
    assert maskrt(*parts, "--merge", "--json").json == maskrt(*command, "--json").json


def test_a_folder_holds_one_run(
    tiny: Path, labelled: Path, maskrt: Command, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny.read_bytes() + b"\0")
    parts = ("eval", tiny, "--data", labelled, "--out", tmp_path / "parts")
    assert maskrt(*parts, "--shard", "1/2").code == 0
    for changed, sentence in (
        ((*parts, "--shard", "1/3"), "2 shards found, not 3"),
        ((*parts, "--first", 2, "--shard", "1/2"), "14 pictures found that are not this command's"),
        (("eval", other, *parts[2:], "--shard", "2/2"), "another model found"),
        ((*parts, "--shard", "3/2"), "expected a part from 1/n to n/n"),
        ((*parts, "--shard", "1/2", "--against", tiny), "--against found beside --shard"),
        ((*parts[:4], "--shard", "1/2"), "no --out found"),
    ):
        ran = maskrt(*changed)
        assert (ran.code, sentence in ran.err) == (2, True), ran.err


def test_a_broken_shard_and_one_of_another_run_get_a_sentence(
    tiny: Path, labelled: Path, maskrt: Command, tmp_path: Path
) -> None:
    parts = ("eval", tiny, "--data", labelled, "--out", tmp_path / "parts")
    assert maskrt(*parts, "--shard", "1/1").code == 0
    (file,) = (tmp_path / "parts" / "shards").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    ran = maskrt(*parts, "--merge")
    assert (ran.code, "not a shard" in ran.err) == (2, True), ran.err
    file.write_bytes(whole)
    manifest = tmp_path / "parts" / "manifest.json"
    stated = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**stated, "settings": {}}))
    ran = maskrt(*parts, "--merge")
    assert (ran.code, "other settings found" in ran.err) == (2, True), ran.err
    manifest.write_text("[]")
    ran = maskrt(*parts, "--merge")
    assert (ran.code, "not a manifest" in ran.err) == (2, True), ran.err


def test_tables_are_the_same_behind_rows() -> None:
    """Of any number of detections and objects, none among them."""
    rng = np.random.default_rng(0)
    made = {
        kind: [
            MatchTable(
                image_id=7 + index,
                category=index,
                area=3,
                scores=rng.random(count),
                matched=rng.random((10, count)) < 0.5,
                ignored=rng.random((10, count)) < 0.5,
                objects_ignored=rng.random(3 - count % 3) < 0.5,
            )
            for index, count in enumerate((0, 1, 3, 100))
        ]
        for kind in ("box", "mask")
    }
    found = list(tables_of(rows_of(made)))  # type: ignore[arg-type]
    expected = [(kind, table) for kind, tables in made.items() for table in tables]
    assert len(found) == len(expected)
    for (kind, table), (kind_made, original) in zip(found, expected, strict=True):
        assert kind == kind_made
        for name, value in vars(original).items():
            np.testing.assert_array_equal(getattr(table, name), value)
            if isinstance(value, np.ndarray):
                assert getattr(table, name).dtype == value.dtype
