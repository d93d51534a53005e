"""INT8 files: where Q/DQ stand and what they hold, what stays as it was, and what it computes."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, numpy_helper, parser

from maskrt.export.macs import graph_macs
from maskrt.export.precision.int8 import EXEMPTIONS, to_int8
from maskrt.export.precision.policy import LAYERS, is_layer
from maskrt.export.typed_graph import TypedGraph, scope_of
from maskrt.runtime.contract import Contract, ResizeRule, TensorSpec
from maskrt.runtime.errors import ExportError, InputError
from maskrt.runtime.pictures.preprocess import place_on_canvas, read_image
from maskrt.train.shapes.scenes import draw_scene

from ..conftest import Exported

Pair = tuple[onnx.ModelProto, onnx.ModelProto]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), draw_scene(np.random.default_rng(i)).image)
    return paths


@pytest.fixture(scope="module", params=["lsc", "fastmask"])
def pair(request: pytest.FixtureRequest, pictures: list[Path]) -> Pair:
    """A narrow network in FP32 and in INT8."""
    network: Exported = request.getfixturevalue(request.param)
    model = onnx.load(network.fp32.path)
    return model, to_int8(model, network.fp32.contract, pictures)[0]


def layers_of(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    graph = TypedGraph(onnx.shape_inference.infer_shapes(model))
    return {n.name: n for n in graph.nodes if is_layer(graph, n)}


def test_layers_read_symmetric_int8_and_biases_stay_float(pair: Pair) -> None:
    fp32, int8 = pair
    checker.check_model(int8, full_check=True)
    graph, before = TypedGraph(int8), TypedGraph(fp32)
    nodes = {node.name: node for node in graph.nodes}
    done = 0
    for name, layer in layers_of(fp32).items():
        read = [graph.producer.get(tensor) for tensor in nodes[name].input[:2]]
        if None in read or {graph.nodes[i].op_type for i in read} != {"DequantizeLinear"}:
            assert list(nodes[name].input[1:]) == list(layer.input[1:]), "left out: as it was"
            continue
        done += 1
        activation, weight = (graph.nodes[i] for i in read)
        for dequantize in (activation, weight):
            zero_point = numpy_helper.to_array(graph.stored[dequantize.input[2]])
            assert zero_point.dtype == np.int8
            assert not zero_point.any()
        stored = numpy_helper.to_array(graph.stored[weight.input[0]])
        scales = numpy_helper.to_array(graph.stored[weight.input[1]])
        (axis,) = (a.i for a in weight.attribute if a.name == "axis")
        assert stored.dtype == np.int8
        assert scales.shape == (stored.shape[axis],)
        assert axis == out_axis(layer)
        assert graph.stored[activation.input[1]].dims == []
        quantize = graph.nodes[graph.producer[activation.input[0]]]
        assert (quantize.op_type, quantize.input[0]) == ("QuantizeLinear", layer.input[0])
        for bias in nodes[name].input[2:]:
            assert graph.stored[bias] == before.stored[bias]
            assert graph.stored[bias].data_type == TensorProto.FLOAT
    assert done > 5


def out_axis(layer: onnx.NodeProto) -> int:
    """The axis of a stored weight that counts its outputs."""
    transposed = any(a.name == "transB" and a.i for a in layer.attribute)
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 0 if transposed else 1}[
        layer.op_type
    ]


def test_nothing_is_rounded_that_no_layer_reads(pair: Pair) -> None:
    _, int8 = pair
    graph = TypedGraph(int8)
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear":
            readers = {graph.nodes[i].op_type for i in graph.consumers[node.output[0]]}
            assert readers & LAYERS


def test_custom_operators_names_and_scopes_stay(pair: Pair) -> None:
    fp32, int8 = pair
    assert [f.SerializeToString() for f in int8.functions] == [
        f.SerializeToString() for f in fp32.functions
    ]
    assert int8.functions
    nodes = {node.name: node for node in int8.graph.node}
    for node in fp32.graph.node:
        copy = nodes[node.name]
        assert (copy.op_type, copy.domain) == (node.op_type, node.domain)
        assert list(copy.output) == list(node.output)
        assert {a.name: a.SerializeToString() for a in copy.attribute} == {
            a.name: a.SerializeToString() for a in node.attribute
        }
        assert scope_of(copy) == scope_of(node)
    assert int8.producer_name == fp32.producer_name
    assert not int8.metadata_props
    assert int8.graph.input == fp32.graph.input
    assert int8.graph.output == fp32.graph.output


# Layers in a row, written as text

HEADER = '<ir_version: 8, opset_import: ["" : 18, "maskrt" : 1]>'
SIDE = 6
ROW = """g (uint8[1, 6, 6, 3] images, int32[1, 2] image_sizes) => (float[1, 4, 6, 6] y) {
    pixels = Cast <to = 1> (images)
    x = Transpose <perm = [0, 3, 1, 2]> (pixels)
    a = Conv (x, w1, b1)
    r = Relu (a)
    b = Conv (r, w2)
    s = Relu (b)
    y = Conv (s, w3)
}"""


def row(text: str = ROW, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    """A model from ONNX text, its nodes named after their outputs, with random weights."""
    model = parser.parse_model(HEADER + text)
    rng = np.random.default_rng(3)
    shapes = {"w1": (4, 3, 1, 1), "b1": (4,), "w2": (4, 4, 1, 1), "w3": (4, 4, 1, 1)} | shapes
    used = {name for node in model.graph.node for name in node.input}
    for name in sorted(used & shapes.keys()):
        values = rng.standard_normal(shapes[name]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def contract(batch: int = 1) -> Contract:
    return Contract(
        model="row",
        variant="row",
        task="instances",
        class_names=("a",),
        canvas_hw=(SIDE, SIDE),
        batch=batch,
        resize=ResizeRule(0, SIDE),
        channel_order="RGB",
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        inputs=(TensorSpec("images", (batch, SIDE, SIDE, 3), "uint8"),),
        outputs=(TensorSpec("y", (batch, 4, SIDE, SIDE), "float32"),),
        precision="fp32",
        operators=(),
        checkpoint_sha256="",
    )


def int8_layers(model: onnx.ModelProto) -> set[str]:
    graph = TypedGraph(model)
    weights = {n.output[0] for n in graph.nodes if n.op_type == "DequantizeLinear"}
    return {n.name for n in graph.nodes if n.op_type in LAYERS and n.input[1] in weights}


def test_it_computes_on_rounded_weights_and_inputs(pictures: list[Path]) -> None:
    """One layer against its definition in numpy: q = clip(round(x / scale), -128, 127)."""
    model = row("""g (uint8[1, 6, 6, 3] images, int32[1, 2] image_sizes)
        => (float[1, 4, 6, 6] a) {
        pixels = Cast <to = 1> (images)
        x = Transpose <perm = [0, 3, 1, 2]> (pixels)
        a = Conv (x, w1, b1)
    }""")
    int8, report = to_int8(model, contract(), pictures, exemptions=())
    assert (report.layers, report.int8_layers, report.mac_share) == (1, 1, 1.0)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = np.abs(stored["w1"]).max(axis=(1, 2, 3), keepdims=True) / 127
    weights = np.round(stored["w1"] / scales) * scales
    graph = TypedGraph(int8)
    (quantize,) = (n for n in graph.nodes if n.op_type == "QuantizeLinear")
    step = float(numpy_helper.to_array(graph.stored[quantize.input[1]]))
    canvases = [place_on_canvas([read_image(path)], contract())[0] for path in pictures]
    assert step == pytest.approx(np.max(canvases) / 127, rel=0.02)
    images = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    x = np.clip(np.round(images.astype(np.float32) / np.float32(step)), -128, 127) * step
    wanted = np.einsum("bhwc,oc->bohw", x, weights[:, :, 0, 0]) + stored["b1"][:, None, None]
    session = ort.InferenceSession(int8.SerializeToString(), providers=["CPUExecutionProvider"])
    sizes = np.array([[SIDE, SIDE]], np.int32)
    (found,) = session.run(None, {"images": images, "image_sizes": sizes})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-2)


def test_layers_at_pixels_and_predictions_stay_float(pictures: list[Path]) -> None:
    model = row()
    int8, report = to_int8(model, contract(), pictures)
    assert report.left_out == {"a": "pixels", "y": "predictions"}
    assert int8_layers(int8) == {"b"}


def test_weights_computed_from_stored_ones_stay_float(pictures: list[Path]) -> None:
    swapped = "t = Transpose <perm = [1, 0, 2, 3]> (w2)\nb = Conv (r, t)"
    text = ROW.replace("b = Conv (r, w2)", swapped)
    int8, report = to_int8(row(text), contract(), pictures, exemptions=EXEMPTIONS[:2])
    assert report.left_out == {"b": "computed weights"}
    assert int8_layers(int8) == {"a", "y"}


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_a_bias_keeps_its_factor(pictures: list[Path], beta: float) -> None:
    text = """g (uint8[1, 6, 6, 3] images, int32[1, 2] image_sizes) => (float[36, 4] y) {
        pixels = Cast <to = 1> (images)
        shape = Constant <value = int64[2] {36, 3}> ()
        x = Reshape (pixels, shape)
        a = Gemm (x, v1)
        r = Relu (a)
        b = Gemm <beta = BETA> (r, v2, b1)
        y = Gemm (b, v2)
    }""".replace("BETA", f"{beta}")
    model = row(text, v1=(3, 4), v2=(4, 4))
    int8, report = to_int8(model, contract(), pictures, exemptions=EXEMPTIONS[:2])
    assert report.left_out == ({"b": "scaled biases"} if beta != 1 else {})
    (gemm,) = (n for n in int8.graph.node if n.name == "b")
    assert [a.f for a in gemm.attribute if a.name == "beta"] == [beta]


def test_a_model_without_layers_for_int8_is_refused(pictures: list[Path]) -> None:
    """The quantizer would take an empty list for all layers."""
    text = ROW.replace("Conv (x, w1, b1)", "Conv (x, t1)").replace(
        "a = Conv", "t1 = Identity (w1)\nt2 = Identity (w2)\nt3 = Identity (w3)\na = Conv"
    )
    text = text.replace("(r, w2)", "(r, t2)").replace("(s, w3)", "(s, t3)")
    with pytest.raises(ExportError, match="none of 3 layers can become INT8"):
        to_int8(row(text), contract(), pictures)


def test_source_is_left_alone_and_share_is_counted(pictures: list[Path]) -> None:
    model = row()
    before = model.SerializeToString()
    int8, report = to_int8(model, contract(), pictures)
    assert model.SerializeToString() == before
    macs = {"a": 12, "b": 16, "y": 16}
    done = sum(macs[name] for name in macs if name not in report.left_out)
    assert report.mac_share == pytest.approx(done / 44)
    assert graph_macs(int8).int8_share == report.mac_share
    assert f"of 3 layers, {report.mac_share:.1%} of their MACs, calibrated on 3 pictures" in str(
        report
    )


def test_batches_are_filled_with_pictures(pictures: list[Path]) -> None:
    """Three pictures in batches of two: the fourth place is no black canvas, whose range is 0."""
    text = ROW.replace("[1, 6", "[2, 6").replace("[1, 2]", "[2, 2]").replace("[1, 4", "[2, 4")
    one, _ = to_int8(row(), contract(), [*pictures, pictures[0]], exemptions=EXEMPTIONS[:2])
    two, report = to_int8(row(text), contract(2), pictures, exemptions=EXEMPTIONS[:2])
    assert report.pictures == 3
    assert scales(two).keys() == scales(one).keys()
    for name, value in scales(one).items():
        assert math.isclose(scales(two)[name], value, rel_tol=0.01)


def scales(model: onnx.ModelProto) -> dict[str, float]:
    graph = TypedGraph(model)
    return {
        node.input[0]: float(numpy_helper.to_array(graph.stored[node.input[1]]))
        for node in graph.nodes
        if node.op_type == "QuantizeLinear"
    }


def test_no_pictures_and_broken_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures to calibrate on found"):
        to_int8(row(), contract(), [])
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match="not a whole picture"):
        to_int8(row(), contract(), [broken])


def test_the_quantizer_says_nothing_on_standard_output(
    pictures: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    to_int8(row(), contract(), pictures)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "WARNING" not in captured.err
