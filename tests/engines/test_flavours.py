from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from maskrt.engines.flavours import flavour_of, load_flavour, request_precision
from maskrt.runtime.errors import BuildError

TENSORRT_8 = {"EXPLICIT_BATCH": 0}
TENSORRT_10 = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
TENSORRT_11 = {"STRONGLY_TYPED": 0}


def module(version: str, flags: dict[str, int]) -> Any:
    """What a flavour reads of a TensorRT module; enum values as in that version's bindings."""
    return SimpleNamespace(
        __version__=version, NetworkDefinitionCreationFlag=SimpleNamespace(**flags)
    )


@pytest.mark.parametrize(
    ("version", "flags", "network_flags", "strongly_typed"),
    [
        ("11.4.0.106", TENSORRT_11, 1, True),
        ("10.9.0.34", TENSORRT_10, 2, True),
        ("10.3.0", TENSORRT_10, 2, True),
        ("8.6.1", TENSORRT_8, 1, False),
    ],
)
def test_network_flag_and_typing_follow_the_version(
    version: str, flags: dict[str, int], network_flags: int, strongly_typed: bool
) -> None:
    flavour = flavour_of(module(version, flags), "tensorrt")
    assert flavour.network_flags == network_flags
    assert flavour.strongly_typed is strongly_typed
    assert flavour.needs_gpu
    assert flavour.has_timing_cache


def test_installed_rtx_needs_no_gpu_and_has_no_timing_cache() -> None:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    flavour = load_flavour("tensorrt-rtx")
    assert flavour.version == (1, 7)
    assert (flavour.needs_gpu, flavour.has_timing_cache, flavour.has_progress) == (
        False,
        False,
        True,
    )
    assert str(flavour).startswith("tensorrt-rtx 1.7.")


@pytest.mark.parametrize(
    ("name", "version"), [("tensorrt", "8.5.3"), ("tensorrt", "9.3.0"), ("tensorrt-rtx", "1.4.0")]
)
def test_unsupported_version_names_the_supported_ones(name: str, version: str) -> None:
    with pytest.raises(BuildError, match=rf"version {version} is installed; expected"):
        flavour_of(module(version, TENSORRT_10), name)


def test_missing_module_gives_the_pip_line_and_the_way_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        BuildError, match=r'pip install "\.\[gpu\]".*tensorrt-rtx. builds without a GPU'
    ):
        load_flavour("tensorrt")


class Layer:
    """One layer of TensorRT 8.6, as far as its precision can be set."""

    def __init__(self, kind: str, output: str, dtype: str) -> None:
        self.type, self.precision, self.output_types = kind, "unset", {}
        self.num_outputs = 1
        self._tensor = SimpleNamespace(name=output, dtype=dtype)

    def get_output(self, _: int) -> Any:
        return self._tensor

    def set_output_type(self, index: int, dtype: str) -> None:
        self.output_types[index] = dtype


def test_tensorrt_8_is_told_each_layers_precision_from_the_onnx() -> None:
    trt = module("8.6.1", TENSORRT_8)
    trt.BuilderFlag = SimpleNamespace(TF32="tf32", FP16="fp16", OBEY_PRECISION_CONSTRAINTS="obey")
    trt.DataType = SimpleNamespace(HALF="half", FLOAT="float")
    trt.LayerType = SimpleNamespace(CAST="cast", CONSTANT="constant")
    layers = [
        Layer("conv", "features", "float"),
        Layer("softmax", "scores", "half"),
        Layer("cast", "wide", "float"),
        Layer("gather", "indices", "int32"),
    ]
    network = SimpleNamespace(num_layers=len(layers), get_layer=lambda i: layers[i])
    flags: list[str] = []
    config = SimpleNamespace(set_flag=flags.append, clear_flag=lambda f: flags.append("no " + f))
    types = {"features": "float16", "scores": "float32", "indices": "int32"}
    request_precision(flavour_of(trt, "tensorrt"), config, network, types, tf32=False)
    assert flags == ["no tf32", "fp16", "obey"]
    assert [x.precision for x in layers] == ["half", "float", "unset", "unset"]
    assert [x.output_types for x in layers] == [{0: "half"}, {0: "float"}, {}, {}]


@pytest.mark.parametrize(("kind", "word"), [("int8", "INT8"), ("float8_e4m3fn", "FP8")])
def test_tensorrt_8_refuses_a_file_in_eight_bits(kind: str, word: str) -> None:
    trt = module("8.6.1", TENSORRT_8)
    trt.BuilderFlag = SimpleNamespace(FP16="fp16", TF32="tf32", OBEY_PRECISION_CONSTRAINTS="obey")
    config = SimpleNamespace(set_flag=lambda _: None, clear_flag=lambda _: None)
    network = SimpleNamespace(num_layers=0)
    types = {"x": "float32", "quantized": kind}
    with pytest.raises(BuildError, match=rf"8\.6\.1: an {word} file found; .* export in FP16"):
        request_precision(flavour_of(trt, "tensorrt"), config, network, types, tf32=False)
