"""What each flavour can build for other places, by the enums of its real Python bindings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from maskrt.engines.builder import build_engine
from maskrt.engines.compatibility import (
    NOWHERE_ELSE,
    Compatibility,
    require_compatibility,
    set_compatibility,
)
from maskrt.engines.flavours import Flavour, flavour_of
from maskrt.engines.inline import weight_files
from maskrt.runtime.errors import BuildError, InputError
from maskrt.runtime.files import sha256_of

VERSION = ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME")
STRIP = ("STRIP_PLAN", "REFIT_IDENTICAL")
FLAGS = {
    "8.6.1": VERSION,
    "10.3.0": (*VERSION, *STRIP),
    "10.16.1.11": (*VERSION, *STRIP),
    "11.4.0.106": (*VERSION, *STRIP),
}
LEVELS = {
    "8.6.1": ("NONE", "AMPERE_PLUS"),
    "10.3.0": ("NONE", "AMPERE_PLUS"),
    "10.16.1.11": ("NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"),
    "11.4.0.106": ("NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"),
}


def flavour(version: str) -> Flavour:
    """Plain TensorRT, as far as its enums; each value is its own name."""
    trt = SimpleNamespace(
        __version__=version,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0, EXPLICIT_BATCH=0),
        BuilderFlag=SimpleNamespace(**{name: name for name in FLAGS[version]}),
        HardwareCompatibilityLevel=SimpleNamespace(**{name: name for name in LEVELS[version]}),
    )
    return flavour_of(trt, "tensorrt")


def asked_of_config(asked: Compatibility, version: str) -> tuple[list[str], str | None]:
    flags: list[str] = []
    config = SimpleNamespace(set_flag=flags.append, hardware_compatibility_level=None)
    require_compatibility(asked, flavour(version))
    set_compatibility(asked, flavour(version), config)
    return flags, config.hardware_compatibility_level


@pytest.mark.parametrize("version", FLAGS)
def test_a_config_is_asked_for_what_its_version_has(version: str) -> None:
    assert asked_of_config(NOWHERE_ELSE, version) == ([], None)
    movable = Compatibility(True, True, "ampere-plus")
    assert asked_of_config(movable, version) == ([*VERSION], "AMPERE_PLUS")
    assert asked_of_config(Compatibility(True), version) == (["VERSION_COMPATIBLE"], None)


def test_newer_versions_strip_weights_and_stay_within_a_capability() -> None:
    asked = Compatibility(hardware_compatible="same-capability", strip_weights=True)
    for version in ("10.16.1.11", "11.4.0.106"):
        assert asked_of_config(asked, version) == ([*STRIP], "SAME_COMPUTE_CAPABILITY")


@pytest.mark.parametrize(
    ("version", "asked", "sentence"),
    [
        ("8.6.1", {"strip_weights": True}, r"8\.6\.1: --strip-weights .*know it\. Use TensorRT 10"),
        ("8.6.1", {"hardware_compatible": "same-capability"}, "'same-capability'. Use .* 10.9 or"),
        ("10.3.0", {"hardware_compatible": "same-capability"}, "or 'ampere-plus'"),
    ],
    ids=["strip", "level 8.6", "level 10.3"],
)
def test_what_a_version_lacks_is_refused(version: str, asked: Any, sentence: str) -> None:
    with pytest.raises(BuildError, match=sentence):
        require_compatibility(Compatibility(**asked), flavour(version))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"version_compatible": True}, "--version-compatible .* on the version that built it"),
        ({"hardware_compatible": "ampere-plus"}, "--hardware-compatible .* every GPU that it is"),
        ({"strip_weights": True}, "--strip-weights .* without a GPU its compiler stops"),
    ],
    ids=["version", "hardware", "weights"],
)
def test_tensorrt_rtx_has_the_names_and_refuses(asked: Any, sentence: str, tiny_onnx: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    target = tiny_onnx.with_suffix(".engine")
    with pytest.raises(BuildError, match=rf"^tensorrt-rtx 1\.7\.\S+: {sentence}"):
        build_engine(tiny_onnx, target, compatibility=Compatibility(**asked))
    assert not target.exists()


def test_impossible_wishes_are_refused_before_any_tensorrt() -> None:
    with pytest.raises(InputError, match=r"'pascal': unknown; expected ampere-plus or same-cap"):
        Compatibility(hardware_compatible="pascal")
    with pytest.raises(InputError, match="exclude_lean_runtime: found without version_compatible"):
        Compatibility(exclude_lean_runtime=True)


def test_a_command_line_asks_for_the_same_again() -> None:
    asked = Compatibility(True, True, "same-capability", True)
    assert asked.arguments == [
        *("--version-compatible", "--exclude-lean-runtime"),
        *("--hardware-compatible", "same-capability", "--strip-weights"),
    ]
    assert NOWHERE_ELSE.arguments == []


def test_the_files_with_the_weights_are_told_from_the_engines_folder(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    folder = tiny_onnx.parent / "graphs"
    folder.mkdir()
    outside = folder / "outside.onnx"
    onnx.save(model, outside, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert weight_files(outside, tiny_onnx.parent / "engines") == {
        "../graphs/outside.onnx": sha256_of(outside),
        "../graphs/weights.bin": sha256_of(folder / "weights.bin"),
    }
    assert weight_files(tiny_onnx, tiny_onnx.parent) == {tiny_onnx.name: sha256_of(tiny_onnx)}
