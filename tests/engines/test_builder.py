from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from maskrt.engines.builder import build_engine
from maskrt.engines.compatibility import Compatibility
from maskrt.engines.flavours import load_flavour
from maskrt.runtime.contract import METADATA_KEY, Contract
from maskrt.runtime.errors import BuildError, InputError, SessionError
from maskrt.runtime.files import sha256_of
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.runtime.sidecar import read_sidecar, sidecar_path

pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')


def leftovers(folder: Path) -> list[str]:
    """Names of everything but the ONNX file."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".onnx")


def test_engine_and_sidecar_are_written_and_describe_each_other(tiny_onnx: Path) -> None:
    engine = tiny_onnx.with_suffix(".engine")
    report = build_engine(tiny_onnx, engine)
    sidecar = read_sidecar(engine)
    assert leftovers(tiny_onnx.parent) == ["tiny.engine", "tiny.engine.json"]
    assert sidecar.fingerprint.engine_sha256 == hashlib.sha256(engine.read_bytes()).hexdigest()
    assert sidecar.fingerprint.onnx_sha256 == sha256_of(tiny_onnx)
    assert sidecar.fingerprint.engine_bytes == engine.stat().st_size
    assert sidecar.fingerprint.runtime == "tensorrt-rtx"
    assert sidecar.contract == report.contract
    assert sidecar.contract.outputs[0].name == "scores"
    assert report.fingerprint == sidecar.fingerprint


@pytest.mark.parametrize(
    ("asked", "reason"), [("auto", "tensorrt-rtx has no plugins"), ("portable", "asked for")]
)
def test_portable_is_used_and_the_sidecar_says_why(
    asked: str, reason: str, tiny_onnx: Path
) -> None:
    engine = tiny_onnx.with_suffix(".engine")
    report = build_engine(tiny_onnx, engine, operators=asked)
    sidecar = read_sidecar(engine)
    assert (report.operators, sidecar.build["operators"]) == ("portable", "portable")
    assert reason in sidecar.build["operators_reason"] == report.operators_reason
    assert sidecar.fingerprint.options["operators"] == "portable"
    assert sidecar.fingerprint.kernels_sha256 == {}
    assert report.notes == ()


def test_sidecar_keeps_the_command_that_repeats_the_build(tiny_onnx: Path) -> None:
    engine = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, engine, min_fp16=0.5)
    command = read_sidecar(engine).rebuild_command(engine)
    assert command == (
        f"maskrt build {tiny_onnx} -o {engine} --runtime tensorrt-rtx "
        "--operators auto --min-fp16 0.5"
    )


@pytest.fixture
def as_plain_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX's real builder counts as plain TensorRT's, whose options it knows by name."""
    found = dataclasses.replace(load_flavour("tensorrt-rtx"), name="tensorrt")
    monkeypatch.setattr("maskrt.engines.builder.load_flavour", lambda _: found)


@pytest.mark.usefixtures("as_plain_tensorrt")
def test_where_else_an_engine_runs_is_asked_of_the_builder_and_recorded(tiny_onnx: Path) -> None:
    engine = tiny_onnx.with_suffix(".engine")
    asked = Compatibility(True, True, "ampere-plus")
    report = build_engine(tiny_onnx, engine, "tensorrt", compatibility=asked)
    built, command = report.fingerprint, read_sidecar(engine).rebuild_command(engine)
    assert (built.version_compatible, built.hardware_compatible) == (True, "ampere-plus")
    assert built.options.items() >= dataclasses.asdict(asked).items()
    assert built.weights_sha256 == {}
    assert command.endswith(" ".join(asked.arguments))
    assert report.notes == ()
    plain = build_engine(tiny_onnx, engine).fingerprint
    assert (plain.version_compatible, plain.hardware_compatible) == (False, None)


@pytest.mark.usefixtures("as_plain_tensorrt")
def test_an_engine_without_weights_names_the_file_that_holds_them(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TensorRT-RTX's builder strips no weights on a CPU.
    monkeypatch.setattr("maskrt.engines.builder.set_compatibility", lambda *_: None)
    engine = tiny_onnx.parent / "engines" / "x.engine"
    asked = Compatibility(strip_weights=True)
    report = build_engine(tiny_onnx, engine, "tensorrt", compatibility=asked)
    weights = {"../tiny.onnx": sha256_of(tiny_onnx)}
    assert read_sidecar(engine).fingerprint.weights_sha256 == weights
    assert "its weights stay in" in report.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operators": "fast"}, "operators 'fast': unknown; expected auto, plugin, portable"),
        ({"min_fp16": 1.5}, "expected a share from 0 to 1"),
        ({"workspace_bytes": 0}, "expected more than 0"),
    ],
    ids=["operators", "floor", "workspace"],
)
def test_impossible_options_are_refused(
    tiny_onnx: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"), **options)


def test_unknown_runtime_is_refused(tiny_onnx: Path) -> None:
    with pytest.raises(BuildError, match="runtime 'openvino': unknown; expected tensorrt or"):
        build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"), runtime="openvino")


def test_share_of_macs_below_the_floor_fails_and_names_the_layer(tiny_onnx: Path) -> None:
    engine = tiny_onnx.with_suffix(".engine")
    with pytest.raises(BuildError, match=r"96\.4% of the MACs run in FP16.*'MatMul_6'"):
        build_engine(tiny_onnx, engine, min_fp16=0.99)
    assert leftovers(tiny_onnx.parent) == []


class BuiltEngine:
    """A deserialized engine whose inspector says that the convolution reads `conv_type`."""

    def __init__(self, conv_type: str) -> None:
        layers = [
            {"Name": name, "LayerType": kind, "Inputs": [{"Format/Datatype": type_}], **metadata}
            for name, kind, type_, metadata in (
                ("conv + add", "CaskConvolution", conv_type, {"Metadata": "[ONNX Layer: conv]"}),
                ("fc", "gemm", "Float", {"Metadata": "[ONNX Layer: MatMul_6]"}),
            )
        ]
        self._text = json.dumps({"Layers": layers})

    def create_engine_inspector(self) -> BuiltEngine:
        return self

    def get_engine_information(self, _: Any) -> str:
        return self._text


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let the built engine be opened as this one, or refused with this error."""

    def use(engine: Any) -> None:
        def deserialize(*_: Any) -> tuple[None, Any]:
            if isinstance(engine, Exception):
                raise engine
            return None, engine

        monkeypatch.setattr("maskrt.engines.layers.engine_report.missing_device", lambda: None)
        monkeypatch.setattr("maskrt.engines.layers.engine_report.deserialize", deserialize)

    return use


def test_the_engines_own_layers_are_in_the_sidecar(
    tiny_onnx: Path, opened: Callable[[Any], None]
) -> None:
    opened(BuiltEngine("Half"))
    path = tiny_onnx.with_suffix(".engine")
    report = build_engine(tiny_onnx, path, min_fp16=0.9)
    found = read_sidecar(path).build["engine"]
    assert found["source"] == "engine inspector"
    assert found["layers"][0] == ["conv + add", "CaskConvolution", "float16", 6912, ["conv"]]
    assert found["macs"] == read_sidecar(path).build["network"]["macs"]
    assert found["fp16_mac_share"] == read_sidecar(path).build["network"]["fp16_mac_share"]
    assert report.notes == ()
    assert report.engine_words == "engine: 2 layers; 50.0% of layers, 96.4% of MACs in FP16"


def test_an_engine_below_the_floor_fails_and_nothing_is_kept(
    tiny_onnx: Path, opened: Callable[[Any], None]
) -> None:
    opened(BuiltEngine("Float"))
    path = tiny_onnx.with_suffix(".engine")
    others = (
        "'conv + add' (float32, 6,912 MACs, ONNX conv), 'fc' (float32, 256 MACs, ONNX MatMul_6)"
    )
    with pytest.raises(BuildError, match=re.escape(f"Largest others: {others}. ")) as caught:
        build_engine(tiny_onnx, path, min_fp16=0.9)
    assert "0.0% of the MACs run in FP16 (read from the engine inspector)" in str(caught.value)
    assert caught.value.exit_code == 2
    assert leftovers(tiny_onnx.parent) == []
    build_engine(tiny_onnx, path)  # no floor asked
    assert read_sidecar(path).build["engine"]["fp16_mac_share"] == 0.0


def test_an_engine_that_is_refused_gates_by_its_network_and_says_so(
    tiny_onnx: Path, opened: Callable[[Any], None]
) -> None:
    opened(SessionError("TensorRT refused the engine."))
    path = tiny_onnx.with_suffix(".engine")
    report = build_engine(tiny_onnx, path, min_fp16=0.9)
    assert report.engine == "engine layers not read: TensorRT refused the engine."
    assert read_sidecar(path).build["engine"] == report.engine == report.engine_words
    note = "--min-fp16 was checked on the parsed network, not on the engine"
    assert report.notes == (note,)
    assert read_sidecar(path).build["notes"] == [note]


@pytest.mark.skipif(missing_device() is None, reason="with a GPU the engine's layers are read")
def test_without_a_gpu_the_network_gates_and_the_output_says_so(tiny_onnx: Path) -> None:
    report = build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"), min_fp16=0.9)
    assert report.engine_words.startswith("engine layers not read: opening the engine needs an NV")
    assert "not on the engine" in report.notes[0]


def test_floor_does_not_apply_to_an_fp32_contract(
    onnx_file: Callable[..., Path], fp32_contract: Contract
) -> None:
    path = onnx_file(carried=fp32_contract)
    report = build_engine(path, path.with_suffix(".engine"), min_fp16=1.0)
    assert report.network.fp16_mac_share < 1.0


def test_missing_onnx_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        build_engine(tmp_path / "gone.onnx", tmp_path / "x.engine")


def test_wrong_suffixes_are_refused(tmp_path: Path, tiny_onnx: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"jpeg")
    with pytest.raises(InputError, match=r"suffix '\.jpg' is not an ONNX file"):
        build_engine(photo, tmp_path / "x.engine")
    with pytest.raises(InputError, match=r"expected \.engine"):
        build_engine(tiny_onnx, tmp_path / "x.plan")


def test_empty_and_corrupt_onnx_files_are_refused(tmp_path: Path, tiny_onnx: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"")
    with pytest.raises(InputError, match="the file is empty"):
        build_engine(bad, tmp_path / "x.engine")
    whole = tiny_onnx.read_bytes()
    for data in (b"not an onnx file", whole[: len(whole) // 2]):
        bad.write_bytes(data)
        with pytest.raises(InputError, match=r"bad\.onnx: not a valid ONNX model"):
            build_engine(bad, tmp_path / "x.engine")
    assert leftovers(tmp_path) == []


def test_foreign_onnx_without_contract_is_refused(tiny_onnx: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    del model.metadata_props[:]
    onnx.save(model, str(tiny_onnx))
    with pytest.raises(InputError, match="without a maskrt contract"):
        build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"))


def test_contract_of_another_schema_is_refused(tiny_onnx: Path) -> None:
    model = onnx.load(str(tiny_onnx))
    helper.set_model_props(model, {METADATA_KEY: json.dumps({"schema_version": 99})})
    onnx.save(model, str(tiny_onnx))
    with pytest.raises(InputError, match="contract schema 99"):
        build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"))


def test_failed_build_keeps_the_older_pair(tiny_onnx: Path, onnx_file: Callable[..., Path]) -> None:
    engine = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, engine)
    before = (engine.read_bytes(), sidecar_path(engine).read_bytes())
    with pytest.raises(BuildError):
        build_engine(tiny_onnx, engine, min_fp16=1.0)
    assert (engine.read_bytes(), sidecar_path(engine).read_bytes()) == before


def test_target_in_a_place_that_cannot_be_written_is_refused_before_the_build(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrt.engines.builder.load_flavour", _never)
    blocker = tiny_onnx.parent / "file"
    blocker.write_text("in the way")
    with pytest.raises(InputError, match=r"file is not a folder that can be written"):
        build_engine(tiny_onnx, blocker / "x.engine")
    folder = tiny_onnx.parent / "x.engine"
    folder.mkdir()
    with pytest.raises(InputError, match="is a folder; expected a file name"):
        build_engine(tiny_onnx, folder)


def test_full_disk_leaves_nothing(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"tiny\.engine: could not be written \(No space left"):
        build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"))
    assert leftovers(tiny_onnx.parent) == []


def test_timing_cache_is_not_used_by_rtx_and_the_report_says_so(tiny_onnx: Path) -> None:
    cache = tiny_onnx.parent / "cache.bin"
    report = build_engine(tiny_onnx, tiny_onnx.with_suffix(".engine"), timing_cache_path=cache)
    assert "has no timing cache" in report.notes[0]
    assert not cache.exists()


def test_custom_operator_without_a_body_is_refused(onnx_file: Callable[..., Path]) -> None:
    path = onnx_file(functions=())
    with pytest.raises(BuildError, match="node 'custom' calls maskrt::MaskrtTwice"):
        build_engine(path, path.with_suffix(".engine"))


def test_graph_that_differs_from_its_contract_is_refused(onnx_file: Callable[..., Path]) -> None:
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 8, 8, 3]),
        helper.make_tensor_value_info("image_sizes", TensorProto.INT32, [1, 2]),
    ]
    path = onnx_file(graph_inputs=inputs)
    with pytest.raises(BuildError, match=r"only the graph has 'images' \(-1, 8, 8, 3\)"):
        build_engine(path, path.with_suffix(".engine"))


def _never(*_: Any) -> None:
    raise AssertionError("the build began before the target was checked")
