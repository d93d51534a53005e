"""The inspector's JSON of TensorRT 10 and 11, in the forms that its documentation shows."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from maskrt.engines.layers.inspector import summary_from_inspector
from maskrt.engines.layers.summary import Layer, LayerSummary, onnx_names
from maskrt.runtime.errors import SessionError

HALF, WIDE = "half", "wide"
# What TensorRT says of one tensor's type: up to 10 in short or in long, from 11 on in two keys.
SCHEMAS: dict[str, dict[str, dict[str, str]]] = {
    "10.x-short": {HALF: {"Format/Datatype": "Half"}, WIDE: {"Format/Datatype": "Float"}},
    "10.x-long": {
        HALF: {"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"},
        WIDE: {"Format/Datatype": "Row major linear FP32"},
    },
    "11.x": {
        HALF: {"Format": "Channel major format", "DataType": "FP16"},
        WIDE: {"Format": "Row major linear", "DataType": "FP32"},
    },
    "11.x-words": {  # the layout's words are not the type
        HALF: {"Format": "Row major linear FP32 format (kLINEAR)", "DataType": "Half"},
        WIDE: {"Format": "Row major linear FP16 format (kLINEAR)", "DataType": "Float"},
    },
}


def layer(name: str, kind: str, *inputs: dict[str, str], onnx: str = "", **more: Any) -> dict:
    """One layer of the inspector; `onnx` as names with a bar between."""
    tensors = [{"Name": "t", "Location": "Device", "Dimensions": [1, 4], **i} for i in inputs]
    metadata = "\x1e".join(f"[ONNX Layer: {node}]" for node in onnx.split("|") if node)
    outputs = [{"Name": "o", "Format/Datatype": "Float"}]
    parts = {"Inputs": tensors, "Outputs": outputs, "TacticName": "", "Metadata": metadata}
    return {"Name": name, "LayerType": kind, **parts, **more}


def network(**macs: int) -> LayerSummary:
    """A parsed FP16 network whose nodes have these MACs, each in a layer of its own name."""
    layers = (Layer(name, "CONVOLUTION", "float16", count, (name,)) for name, count in macs.items())
    return LayerSummary("parsed network", tuple(layers))


def read(layers: list[Any], parsed: LayerSummary) -> LayerSummary:
    return summary_from_inspector(json.dumps({"Layers": layers, "Bindings": ["images"]}), parsed)


@pytest.fixture(params=list(SCHEMAS))
def types(request: pytest.FixtureRequest) -> SimpleNamespace:
    found = SCHEMAS[request.param]
    return SimpleNamespace(half=found[HALF], wide=found[WIDE])


def test_both_schemas_give_both_shares(types: SimpleNamespace) -> None:
    layers = [
        layer("c1 + r1", "CaskConvolution", types.half, onnx="c1|r1"),
        layer("m", "gemm", types.half, types.wide, onnx="m"),
        layer("g", "Gather", {"DataType": "Int32"}, onnx="g"),
    ]
    summary = read(layers, network(c1=900, r1=0, m=100))
    assert [x.precision for x in summary.layers] == ["float16", "float32", ""]
    assert [x.macs for x in summary.layers] == [900, 100, 0]
    assert summary.layers[0].onnx == ("c1", "r1")
    assert (summary.fp16_layer_share, summary.fp16_mac_share) == (0.5, 0.9)
    assert (summary.macs, summary.unattributed_macs) == (1000, 0)


def test_fused_convolutions_add_up(types: SimpleNamespace) -> None:
    summary = read([layer("a || b", "CaskConvolution", types.half, onnx="a|b")], network(a=1, b=2))
    assert summary.layers[0].macs == 3


def test_macs_that_no_layer_names_are_counted_and_are_not_fp16(types: SimpleNamespace) -> None:
    layers = [layer("a", "CaskConvolution", types.half, onnx="a")]
    summary = read(layers, network(a=60, folded=40))
    assert (summary.macs, summary.unattributed_macs, summary.fp16_mac_share) == (100, 40, 0.6)
    assert summary.to_dict()["unattributed_macs"] == 40


@pytest.mark.parametrize(
    ("name", "kind"),
    [("{ForeignNode[a...z]}", "Myelin"), ("{ForeignNode[a...z]}", "kgen"), ("x", "Myelin")],
)
def test_a_region_shows_its_edges_only_so_its_macs_are_nobodys(name: str, kind: str) -> None:
    summary = read([layer(name, kind, {"DataType": "Half"}, onnx="a|z")], network(a=5, z=0))
    assert (summary.layers[0].macs, summary.unattributed_macs) == (0, 5)


def test_a_change_of_layout_that_names_a_node_does_not_get_its_macs() -> None:
    layers = [
        layer("before a", "Reformat", {"DataType": "Float"}, onnx="a"),
        layer("a", "CaskConvolution", {"DataType": "Half"}, onnx="a"),
    ]
    summary = read(layers, network(a=7))
    assert [x.macs for x in summary.layers] == [0, 7]
    assert summary.fp16_layer_share == summary.fp16_mac_share == 1.0


@pytest.mark.parametrize(
    "product",
    [
        layer("p", "gemm", {"DataType": "Half"}, onnx="a"),
        layer("p", "fusion", {"DataType": "Half"}, onnx="a", TacticName="sm80_xmma_gemm_f16f16"),
        layer("p", "conv", {"DataType": "Half"}, onnx="a"),
    ],
    ids=["by type", "by tactic", "convolution"],
)
def test_of_kernels_that_name_a_node_the_product_has_its_macs(product: dict[str, Any]) -> None:
    cast = layer("__myl_Cast", "kgen", {"DataType": "Float"}, onnx="a", TacticName="__myl_Cast_0x1")
    for order in ([cast, product], [product, cast]):
        summary = read(order, network(a=7))
        assert {x.name: x.macs for x in summary.layers} == {"__myl_Cast": 0, "p": 7}


def test_of_two_products_the_wider_has_the_macs_once() -> None:
    layers = [
        layer("first", "gemm", {"DataType": "Half"}, onnx="a"),
        layer("second", "gemm", {"DataType": "Float"}, onnx="a"),
    ]
    summary = read(layers, network(a=7))
    assert [x.macs for x in summary.layers] == [0, 7]
    assert summary.fp16_mac_share == 0.0


def test_wide_weights_make_a_layer_wide_and_outputs_and_biases_do_not() -> None:
    half = {"DataType": "Half"}
    layers = [
        layer("a", "CaskConvolution", half, Weights={"Type": "Half"}, Bias={"Type": "Float"}),
        layer("b", "CaskConvolution", half, Weights={"Type": "Float"}),
    ]
    assert [x.precision for x in read(layers, network()).layers] == ["float16", "float32"]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"Nodes": []}'])
def test_an_answer_of_another_form_is_a_reason(text: str) -> None:
    with pytest.raises(SessionError, match="the inspector's answer cannot be read"):
        summary_from_inspector(text, network(a=1))


@pytest.mark.parametrize("text", ['{"Layers": ["a", "b"]}', '{"Layers": []}'])
def test_names_without_details_are_a_reason_and_no_share(text: str) -> None:
    with pytest.raises(SessionError, match=r"gives \d bare names; expected layers with .* tensors"):
        summary_from_inspector(text, network(a=1))


def test_layers_without_types_are_a_reason_and_no_share() -> None:
    with pytest.raises(SessionError, match="gives 1 layers without tensor types"):
        read([{"Name": "a", "LayerType": "kgen", "Inputs": []}], network(a=1))


def test_control_characters_that_were_not_escaped_are_read() -> None:
    entry = layer("a", "conv", {"DataType": "Half"}, onnx="a|b")
    text = json.dumps({"Layers": [entry]}).replace("\\u001e", "\x1e")
    assert summary_from_inspector(text, network(a=1)).layers[0].onnx == ("a", "b")


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ("", ()),
        ("[ONNX Layer: /a/Conv]", ("/a/Conv",)),
        ("[ONNX Layer: a]\x1e[ONNX Layer: b]\x1f[ONNX Layer: a]", ("a", "b")),
        ("[ONNX Layer: a][ONNX Layer: b]", ("a", "b")),
        ("a layer of ours", ()),
    ],
)
def test_metadata_names_onnx_nodes_once(metadata: str, names: tuple[str, ...]) -> None:
    assert onnx_names(metadata) == names
