"""The precision file: what is written is read, and what is no such file is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maskrt.export.precision.precision_file import (
    PrecisionFile,
    groups_for,
    read_precision_file,
    write_precision_file,
)
from maskrt.runtime.errors import InputError
from maskrt.runtime.files import sha256_of

CONTENT = PrecisionFile(
    checkpoint_sha256="ab" * 32,
    groups=("model.backbone.res3.0.conv1", "node_add_4"),
    model="lsc_mask_rcnn_tiny",
    metric="instances",
    gate=0.98,
    pictures={"data": "shapes", "split": "val", "count": 20},
    before={"passed": False, "figures": {}, "reason": "weight 'w': 70000 found"},
    after={"passed": True, "figures": {"matched": 1.0}, "reason": ""},
    fp16_mac_share=0.97,
    costs={"node_add_4": {"mac_share": 0.0}},
    evaluations=31,
    versions={"maskrt": "0.1.0"},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "precision.json"
    write_precision_file(path, CONTENT)
    assert read_precision_file(path) == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["precision.json"]


def test_a_file_by_hand_needs_three_fields(tmp_path: Path) -> None:
    path = tmp_path / "precision.json"
    raw = {"schema_version": 1, "checkpoint_sha256": "00", "groups": ["rpn"]}
    path.write_text(json.dumps(raw))
    assert read_precision_file(path) == PrecisionFile("00", ("rpn",))


def test_groups_are_given_for_their_checkpoint_only(tmp_path: Path) -> None:
    checkpoint, other = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    checkpoint.write_bytes(b"weights")
    other.write_bytes(b"others")
    path = tmp_path / "precision.json"
    write_precision_file(path, PrecisionFile(sha256_of(checkpoint), ("rpn",), model="net"))
    assert groups_for(path, checkpoint) == ("rpn",)
    with pytest.raises(InputError, match=r"made for net with SHA-256 .* has .* Run maskrt bisect"):
        groups_for(path, other)
    with pytest.raises(InputError, match="no such file; expected a checkpoint"):
        groups_for(path, tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema 2 found; this maskrt reads 1"),
        ({"schema_version": 2, "layers": []}, "schema 2 found; this maskrt reads 1"),
        ({"groups": "rpn"}, 'groups is "rpn"; expected a list'),
        ({"groups": {"rpn": 1}}, 'groups is {"rpn": 1}; expected a list'),
        ({"groups": ["rpn", 3]}, "groups[1] is 3; expected text"),
        ({"groups": ["rpn", ""]}, "'groups' holds an empty name"),
        ({"groups": None}, "groups is null; expected a list"),
        ({"grups": []}, "unknown 'grups'"),
        ({"gate": "0.3"}, 'gate is "0.3"; expected a number'),
        ({"versions": {"torch": 2}}, "versions.torch is 2; expected text"),
        ({"evaluations": 1.5}, "evaluations is 1.5; expected a whole number"),
    ],
)
def test_wrong_fields_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "precision.json"
    path.write_text(json.dumps({**json.loads(CONTENT.to_json()), **change}))
    with pytest.raises(InputError) as caught:
        read_precision_file(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert str(caught.value).endswith("Make it with maskrt bisect.")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("schema_version", "no 'schema_version'"),
        ("groups", "no 'groups'"),
        ("checkpoint_sha256", "no 'checkpoint_sha256'"),
    ],
)
def test_missing_fields_are_named(tmp_path: Path, missing: str, words: str) -> None:
    path = tmp_path / "precision.json"
    raw = json.loads(CONTENT.to_json())
    del raw[missing]
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=words):
        read_precision_file(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"{", "no precision file (Expecting property name"),
        (b"[]", "no precision file (it is []; expected an object"),
        (b"[" * 100_000, "no precision file (nested more than 50 levels deep"),
        (b'{"schema_version": NaN}', "no precision file (NaN is no number of JSON"),
        (b'{"schema_version": "\\ud800"}', "no precision file ('utf-8' codec"),
        (b"\xff\xfe", "no precision file ('utf-8' codec"),
    ],
)
def test_other_bytes_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "precision.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_precision_file(path)
    assert words in str(caught.value)


def test_a_missing_file_and_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; expected a precision file"):
        read_precision_file(tmp_path / "absent.json")
    (tmp_path / "a.yaml").write_text("groups: []")
    with pytest.raises(InputError, match=r"suffix '\.yaml' is not a precision file"):
        read_precision_file(tmp_path / "a.yaml")
