from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from maskrt.engines.builder import build_engine
from maskrt.engines.flavours import load_flavour
from maskrt.engines.layers.engine_report import (
    engine_report,
    network_summary,
    summary_words,
)
from maskrt.engines.layers.summary import LayerSummary
from maskrt.engines.network import make_builder
from maskrt.runtime.errors import SessionError
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.runtime.sessions.trt.tensorrt_module import tensorrt_logger

CONV_MACS = 4 * 8 * 8 * 27  # 1x4x8x8 outputs of 3x3x3 products
MATMUL_MACS = 8 * 4 * 8  # 1x8x4 outputs of 8 products


@pytest.fixture
def engine(tiny_onnx: Path) -> Path:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    path = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, path)
    return path


def test_parsed_network_counts_macs_and_precision(engine: Path) -> None:
    network = engine_report(engine)["build"]["network"]
    layers = {name: rest for name, *rest in network["layers"]}
    assert network["source"] == "parsed network"
    assert layers["conv"] == ["CONVOLUTION", "float16", CONV_MACS, ["conv"]]
    assert layers["MatMul_6"] == ["MATRIX_MULTIPLY", "float32", MATMUL_MACS, ["MatMul_6"]]
    assert layers["matrix"][-1] == []  # TensorRT's own, of no node
    assert network["unattributed_macs"] == 0
    assert network["macs"] == CONV_MACS + MATMUL_MACS
    assert network["fp16_mac_share"] == pytest.approx(CONV_MACS / network["macs"], abs=1e-4)


def test_macs_of_groups_transposes_and_deconvolutions_match_hand_counts() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[1, 6, 5, 5] x, float[7, 3] a) => (float[1, 8, 10, 10] up, float[3, 4] product)
    <float[4, 3, 3, 1] grouped = {0}, float[4, 8, 2, 2] upward = {0}, float[7, 4] b = {0}> {
        narrow = Conv <group = 2, pads = [1, 0, 1, 0]> (x, grouped)
        up = ConvTranspose <strides = [2, 2]> (narrow, upward)
        product = Gemm <transA = 1> (a, b)
    }
    """
    flavour = load_flavour("tensorrt-rtx")
    builder = make_builder(flavour)
    network = builder.create_network(flavour.network_flags)
    parser = trt.OnnxParser(network, tensorrt_logger(trt))
    assert parser.parse(filled(onnx.parser.parse_model(text)).SerializeToString())
    layers = network_summary(trt, network).layers
    assert {x.kind: x.macs for x in layers if x.macs} == {
        "CONVOLUTION": 4 * 5 * 5 * (6 // 2) * 3 * 1,
        "DECONVOLUTION": 4 * 5 * 5 * 8 * 2 * 2,
        "MATRIX_MULTIPLY": 3 * 4 * 7,
    }


def filled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with each initializer as long as its shape: ONNX text has no shorthand for that."""
    for tensor in model.graph.initializer:
        zeros = onnx.numpy_helper.from_array(np.zeros(tuple(tensor.dims), np.float32), tensor.name)
        tensor.CopyFrom(zeros)
    return model


def test_engine_layers_are_read_or_one_line_says_why_not(engine: Path) -> None:
    layers = engine_report(engine)["engine_layers"]
    if missing_device():
        assert layers.startswith("engine layers not read: opening the engine needs an NVIDIA GPU")
        assert "\n" not in layers
    else:
        assert isinstance(layers, dict | str)


@pytest.mark.skipif(missing_device() is None, reason="with a GPU the layers are read here")
def test_layers_that_the_build_read_are_shown_where_they_cannot_be(engine: Path) -> None:
    recorded = {"layer_count": 3, "fp16_layer_share": 0.5, "macs": 0, "fp16_mac_share": 0.0}
    path = engine.with_name(engine.name + ".json")
    sidecar = json.loads(path.read_text())
    sidecar["build"]["engine"] = recorded
    path.write_text(json.dumps(sidecar))
    assert engine_report(engine)["engine_layers"] == recorded


def test_a_summary_survives_its_json_form(engine: Path) -> None:
    network = engine_report(engine)["build"]["network"]
    read = LayerSummary.from_dict(json.loads(json.dumps(network)))
    assert read.to_dict() == network
    assert read.layers[2].onnx == ("conv",)


def test_one_line_about_a_summary_has_both_shares_and_what_is_not_known() -> None:
    summary = {
        "layer_count": 3,
        "fp16_layer_share": 0.5,
        "macs": 200,
        "fp16_mac_share": 0.75,
        "unattributed_macs": 10,
    }
    line = "3 layers; 50.0% of layers, 75.0% of MACs in FP16; 5.0% of MACs in no layer that tells"
    assert summary_words(summary) == line
    assert summary_words(None) == "not recorded"
    assert summary_words("engine layers not read: no GPU") == "engine layers not read: no GPU"


def test_report_of_an_engine_without_sidecar_says_how_to_rebuild(engine: Path) -> None:
    engine.with_name(engine.name + ".json").unlink()
    with pytest.raises(SessionError, match=r"Build the engine again: maskrt build tiny\.onnx -o "):
        engine_report(engine)
