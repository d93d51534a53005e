from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from maskrt.runtime.contract import Contract, ResizeRule, TensorSpec
from maskrt.runtime.errors import SessionError
from maskrt.runtime.sidecar import Fingerprint, Sidecar, read_sidecar, rebuild_command, sidecar_path


def a_sidecar() -> Sidecar:
    contract = Contract(
        model="mask_rcnn",
        variant="tiny",
        task="instances",
        class_names=("thing",),
        canvas_hw=(8, 8),
        batch=1,
        resize=ResizeRule(8, 8),
        channel_order="BGR",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        inputs=(TensorSpec("images", (1, 8, 8, 3), "uint8"),),
        outputs=(TensorSpec("scores", (1, 4), "float32"),),
        precision="fp16",
        operators=(),
        checkpoint_sha256="ab",
    )
    fingerprint = Fingerprint(
        onnx_sha256="cd",
        runtime="tensorrt",
        tensorrt_version="10.9.0.34",
        gpu_name="NVIDIA L4",
        compute_capability="8.9",
        options={"tf32": False},
        kernels_sha256={},
        engine_sha256="ef",
        engine_bytes=4,
        build_seconds=1.5,
    )
    return Sidecar(contract, fingerprint, {"command": "maskrt build a.onnx -o a.engine"})


def test_written_sidecar_reads_back_equal(tmp_path: Path) -> None:
    engine = tmp_path / "a.engine"
    sidecar_path(engine).write_text(a_sidecar().to_json())
    assert sidecar_path(engine).name == "a.engine.json"
    assert read_sidecar(engine) == a_sidecar()


def test_a_sidecar_of_an_engine_with_weights_need_not_say_so(tmp_path: Path) -> None:
    raw = json.loads(a_sidecar().to_json())
    del raw["fingerprint"]["weights_sha256"]
    engine = tmp_path / "a.engine"
    sidecar_path(engine).write_text(json.dumps(raw))
    assert read_sidecar(engine) == a_sidecar()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a sidecar this maskrt reads"),
        ('{"name": "somebody else\'s"}', "not a sidecar this maskrt reads"),
        (
            json.dumps({"contract": {"schema_version": 99}, "fingerprint": {}, "build": {}}),
            "contract schema 99",
        ),
    ],
    ids=["cut off", "a list", "foreign", "newer schema"],
)
def test_unreadable_sidecar_is_refused_with_the_way_to_rebuild(
    tmp_path: Path, text: str, message: str
) -> None:
    engine = tmp_path / "a b.engine"
    sidecar_path(engine).write_text(text)
    with pytest.raises(SessionError, match=message) as caught:
        read_sidecar(engine)
    assert f"maskrt build 'a b.onnx' -o '{engine}'" in str(caught.value)


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("fingerprint", "moon_phase", 3, "unknown 'fingerprint.moon_phase'"),
        ("fingerprint", "tensorrt_version", 1, "fingerprint.tensorrt_version is 1; expected text"),
        ("fingerprint", "build_seconds", "", 'build_seconds is ""; expected a number'),
        ("fingerprint", "build_seconds", -1, "engine_bytes or build_seconds is negative"),
        ("fingerprint", "engine_bytes", [], "engine_bytes is .*; expected a whole number"),
        ("fingerprint", "engine_bytes", 10**40, "engine_bytes is 10+...; expected less than"),
        ("fingerprint", "engine_sha256", float("nan"), "not JSON .NaN is no number of JSON"),
        ("fingerprint", "gpu_name", 0, "fingerprint.gpu_name is 0; expected text"),
        ("fingerprint", "weights_sha256", {"a.bin": "0"}, "weights_sha256 names no ONNX file"),
        ("fingerprint", "kernels_sha256", {"k": None}, "kernels_sha256.k is null; expected text"),
        ("build", "engine", {}, "no 'build.engine.fp16_layer_share'"),
        ("build", "network", [1], r"build.network is \[1\]; expected an object"),
        ("contract", "batch", "1", 'batch is "1"; expected a whole number'),
    ],
)
def test_a_value_of_another_kind_is_named(
    tmp_path: Path, part: str, name: str, value: object, message: str
) -> None:
    engine = tmp_path / "a.engine"
    raw = json.loads(a_sidecar().to_json())
    raw[part][name] = value
    sidecar_path(engine).write_text(json.dumps(raw))
    with pytest.raises(SessionError, match=message):
        read_sidecar(engine)


def test_a_command_that_is_no_text_is_not_given_as_advice(tmp_path: Path) -> None:
    engine = tmp_path / "a.engine"
    for command in ("", [1], None):
        sidecar = dataclasses.replace(a_sidecar(), build={"command": command})
        assert sidecar.rebuild_command(engine) == rebuild_command(engine)


def test_missing_sidecar_is_named(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"a\.engine\.json: No such file"):
        read_sidecar(tmp_path / "a.engine")
