"""The precision file: what is written is read, and what is no such file is refused in words."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from maskrt.export.precision.mixture import Mixture
from maskrt.export.search.certificate import (
    Calibration,
    Candidate,
    Certificate,
    Kept,
    MeasuredSet,
)
from maskrt.export.search.precision_file import (
    PrecisionFile,
    mixture_for,
    read_precision_file,
    write_precision_file,
)
from maskrt.runtime.errors import InputError
from maskrt.runtime.files import sha256_of

SET = MeasuredSet(
    data="shapes",
    split="val",
    count=200,
    sha256="cd" * 32,
    passed=True,
    figures={"greatest AP change": 0.12, "box AP": -0.12, "sure": 0.97},
    intervals={"box AP": (-0.3, 0.06)},
    unseen={"box AP": (-0.37, 0.13)},
)
CERTIFICATE = Certificate(
    model="lsc_mask_rcnn_tiny",
    metric="ap",
    gate=0.3,
    sure=0.9,
    precisions=("fp32", "fp16", "int8"),
    sets=(SET,),
    fastest={"passed": False, "figures": {}, "reason": "weight 'w': 70000 found"},
    mac_shares={"fp32": 0.0, "fp16": 0.1, "int8": 0.9},
    kept={"rpn": Kept("fp16", "int8", "in INT8: 0.5", 0.1, None, {"passed": False})},
    evaluations=4,
    few_evaluations=31,
    tried=(Candidate({"fp16": 1, "int8": 9}, 0.3, True, {"box AP": -0.12}, {}),),
    calibration=Calibration("shapes", 64, "ef" * 32),
    times="floors of NVIDIA L4 by its data sheet, not measured",
    total_ms={"found": 0.3, "all fp16": 0.5},
    group_ms={"rpn": {"fp16": 0.2, "int8": 0.1}},
    versions={"maskrt": "0.1.0"},
)
CONTENT = PrecisionFile(
    checkpoint_sha256="ab" * 32,
    groups={"model.backbone.res3.0.conv1": "int8", "node_add_4": "fp16", "rpn": "fp16"},
    rest="fp16",
    ranges={"relu_1": 6.25},
    certificate=CERTIFICATE,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "precision.json"
    write_precision_file(path, CONTENT)
    assert read_precision_file(path) == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["precision.json"]


def test_a_file_by_hand_needs_three_fields(tmp_path: Path) -> None:
    path = tmp_path / "precision.json"
    raw = {"schema_version": 2, "checkpoint_sha256": "00", "groups": {"rpn": "fp32"}}
    path.write_text(json.dumps(raw))
    assert read_precision_file(path) == PrecisionFile("00", {"rpn": "fp32"})


def test_a_mixture_is_given_for_its_checkpoint_only(tmp_path: Path) -> None:
    checkpoint, other = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    checkpoint.write_bytes(b"weights")
    other.write_bytes(b"others")
    path = tmp_path / "precision.json"
    content = dataclasses.replace(CONTENT, checkpoint_sha256=sha256_of(checkpoint))
    write_precision_file(path, content)
    assert mixture_for(path, checkpoint) == Mixture(CONTENT.groups, "fp16", CONTENT.ranges)
    with pytest.raises(InputError, match=r"made for lsc_mask_rcnn_tiny with SHA-256 .* has .*"):
        mixture_for(path, other)
    with pytest.raises(InputError, match="no such file; expected a checkpoint"):
        mixture_for(path, tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 1}, "schema 1 found; this maskrt reads 2"),
        ({"schema_version": 3, "layers": []}, "schema 3 found; this maskrt reads 2"),
        ({"groups": "rpn"}, 'groups is "rpn"; expected an object'),
        ({"groups": ["rpn"]}, 'groups is ["rpn"]; expected an object'),
        ({"groups": {"rpn": "bf16"}}, 'groups.rpn is "bf16"; expected "fp32" or "fp16" or "int8"'),
        ({"groups": {"": "fp32"}}, "'groups' holds an empty name"),
        ({"rest": "int8"}, 'rest is "int8"; expected "fp16" or "fp32"'),
        ({"ranges": {"relu": "6"}}, 'ranges.relu is "6"; expected a number'),
        ({"grups": []}, "unknown 'grups'"),
        ({"certificate": {"gate": 0.3}}, "no 'certificate."),
    ],
)
def test_wrong_fields_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "precision.json"
    path.write_text(json.dumps({**json.loads(CONTENT.to_json()), **change}))
    with pytest.raises(InputError) as caught:
        read_precision_file(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert str(caught.value).endswith("Make it with maskrt search or maskrt bisect.")


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
