"""Parsed networks with eight bits in them: what counts as INT8, and what stands between."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from maskrt.engines.flavours import load_flavour
from maskrt.engines.layers.engine_report import network_summary, summary_words
from maskrt.engines.layers.scatter import scatter_note
from maskrt.engines.network import make_builder

KINDS = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
HEAD = """<ir_version: 9, opset_import: ["" : 19]>
g (float16[1, 4, 8, 8] x) => (float16[1, 4, 8, 8] y)"""
PAIR = "{t}q = QuantizeLinear ({t}, s, z)\n{t}d = DequantizeLinear ({t}q, s, z)\n"


def network(body: str, kind: str = "int8") -> tuple[Any, Any]:
    """TensorRT-RTX's network of some layers, each with the stored weight w in eight bits, or v."""
    pytest.importorskip("tensorrt_rtx")
    model = parser.parse_model(f"{HEAD} {{ wd = DequantizeLinear (w, s, z)\n{body} }}")
    element = KINDS[kind]
    half = np.float16
    model.graph.initializer.extend(
        [
            helper.make_tensor("w", element, [4, 4, 1, 1], bytes(16), raw=True),
            helper.make_tensor("z", element, [], bytes(1), raw=True),
            numpy_helper.from_array(np.array(0.5, half), "s"),
            numpy_helper.from_array(np.ones((4, 4, 1, 1), half), "v"),
        ]
    )
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.checker.check_model(model, full_check=True)
    flavour = load_flavour("tensorrt-rtx")
    parsed = make_builder(flavour).create_network(flavour.network_flags)
    logger = flavour.trt.Logger(flavour.trt.Logger.ERROR)
    assert flavour.trt.OnnxParser(parsed, logger).parse(model.SerializeToString())
    return flavour.trt, parsed


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_in_eight_bits_where_both_factors_are(kind: str) -> None:
    body = PAIR.format(t="x") + "a = Conv (xd, wd)\nr = Relu (a)\ny = Conv (r, v)"
    summary = network_summary(*network(body, kind))
    assert {x.name: x.precision for x in summary.layers if x.macs} == {"a": kind, "y": "float16"}
    assert summary.mac_shares == {"fp16": 0.5, kind: 0.5}
    assert f"50.0% of MACs in FP16, 50.0% in {kind.upper()}" in summary_words(summary.to_dict())


def test_stored_eight_bits_alone_make_no_product_int8() -> None:
    summary = network_summary(*network("y = Conv (x, wd)"))
    assert summary.mac_shares == {"fp16": 1.0}


def test_a_float_layer_between_int8_layers_is_told() -> None:
    first = PAIR.format(t="x") + "a = Conv (xd, wd)\n"
    last = PAIR.format(t="r") + "y = Conv (rd, wd)"
    trt, scattered = network(f"{first}b = Conv (a, v)\nr = Relu (b)\n{last}")
    (note,) = scatter_note(scattered, network_summary(trt, scattered))
    assert note.startswith("1 layer stands in floats right between layers in eight bits")
    assert note.endswith("b (float16)")


@pytest.mark.parametrize("end", ["y = Conv (r, v)", PAIR.format(t="r") + "y = Conv (rd, wd)"])
def test_float_layers_at_an_end_are_not_between(end: str) -> None:
    trt, parsed = network(PAIR.format(t="x") + f"a = Conv (xd, wd)\nr = Relu (a)\n{end}")
    assert scatter_note(parsed, network_summary(trt, parsed)) == ()
