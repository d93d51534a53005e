"""INT8 and FP8 files: what layers read, what stays as it was, and what it computes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, numpy_helper, parser

from maskrt.export.macs import graph_macs
from maskrt.export.operators.domain import standard_opset
from maskrt.export.precision.calibration import calibrated, few_pictures, ranges_over
from maskrt.export.precision.eight_bits import EIGHT_BITS, ELEMENT, EightBits
from maskrt.export.precision.exemptions import quantizable
from maskrt.export.precision.groups import group_tree
from maskrt.export.precision.policy import LAYERS, is_layer
from maskrt.export.precision.uniform import to_eight_bits
from maskrt.export.typed_graph import TypedGraph, scope_of
from maskrt.runtime.contract import Contract, ResizeRule, TensorSpec
from maskrt.runtime.errors import ExportError, InputError
from maskrt.runtime.pictures.preprocess import place_on_canvas, read_image
from maskrt.train.shapes.scenes import draw_scene

from ..conftest import Exported

Pair = tuple[onnx.ModelProto, onnx.ModelProto, EightBits]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), draw_scene(np.random.default_rng(i)).image)
    return paths


@pytest.fixture(scope="module", params=[("lsc", "int8"), ("fastmask", "fp8")], ids=str)
def pair(request: pytest.FixtureRequest, pictures: list[Path]) -> Pair:
    """A narrow network in FP32 and in INT8 or FP8."""
    name, precision = request.param
    network: Exported = request.getfixturevalue(name)
    model = onnx.load(network.fp32.path)
    return model, to_eight_bits(model, network.fp32.contract, precision, pictures)[0], precision


def test_layers_read_eight_bits_of_both_factors_and_all_else_of_them_is_half(pair: Pair) -> None:
    fp32, typed, precision = pair
    checker.check_model(typed, full_check=True)
    assert standard_opset(typed) == 19
    assert {entry.version for f in typed.functions for entry in f.opset_import} == {19}
    graph = TypedGraph(typed)
    nodes = {node.name: node for node in graph.nodes}
    before = TypedGraph(onnx.shape_inference.infer_shapes(fp32))
    done = [
        n for n in before.nodes if is_layer(before, n) and reads_eight_bits(graph, nodes[n.name])
    ]
    assert len(done) > 5
    for layer in done:
        copy = nodes[layer.name]
        kinds = {graph.types[name] for name in (*copy.input, *copy.output)}
        assert kinds == {TensorProto.FLOAT16}, "no Cast stands between"
        activation, weight = (graph.nodes[graph.producer[name]] for name in copy.input[:2])
        for dequantize in (activation, weight):
            zero = graph.stored[dequantize.input[2]]
            assert zero.data_type == ELEMENT[precision]
            assert not numpy_helper.to_array(zero).astype(np.float32).any()
        channels = graph.stored[weight.input[0]].dims[out_axis(layer)]
        assert graph.stored[weight.input[1]].dims == ([channels] if precision == "int8" else [])
        assert graph.stored[activation.input[1]].dims == []


def reads_eight_bits(graph: TypedGraph, node: onnx.NodeProto) -> bool:
    makers = [graph.producer.get(name) for name in node.input[:2]]
    kinds = {graph.nodes[i].op_type for i in makers if i is not None}
    return None not in makers and kinds == {"DequantizeLinear"}


def out_axis(layer: onnx.NodeProto) -> int:
    """The axis of a stored weight that counts its outputs."""
    transposed = any(a.name == "transB" and a.i for a in layer.attribute)
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 0 if transposed else 1}[
        layer.op_type
    ]


def test_custom_operators_names_and_scopes_stay(pair: Pair) -> None:
    fp32, typed, _ = pair
    assert [f.name for f in typed.functions] == [f.name for f in fp32.functions] != []
    nodes = {node.name: node for node in typed.graph.node}
    for node in fp32.graph.node:
        copy = nodes[node.name]
        assert (copy.op_type, copy.domain) == (node.op_type, node.domain)
        assert scope_of(copy) == scope_of(node)
    assert typed.graph.input == fp32.graph.input
    assert [(v.name, v.type.tensor_type.elem_type) for v in typed.graph.output] == [
        (v.name, v.type.tensor_type.elem_type) for v in fp32.graph.output
    ]


def test_groups_that_take_eight_bits_are_leaves_with_layers(lsc: Exported) -> None:
    model = onnx.load(lsc.fp32.path)
    found = quantizable(model)
    assert found < group_tree(model).names
    assert "model.rpn.conv" in found


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


def done_layers(model: onnx.ModelProto) -> set[str]:
    graph = TypedGraph(model)
    return {n.name for n in graph.nodes if n.op_type in LAYERS and reads_eight_bits(graph, n)}


def test_it_computes_on_rounded_weights_and_inputs(pictures: list[Path]) -> None:
    """One layer against its definition in numpy: q = clip(round(x / scale), -128, 127)."""
    model = row("""g (uint8[1, 6, 6, 3] images, int32[1, 2] image_sizes)
        => (float[1, 4, 6, 6] a) {
        pixels = Cast <to = 1> (images)
        x = Transpose <perm = [0, 3, 1, 2]> (pixels)
        a = Conv (x, w1, b1)
    }""")
    int8, report = to_eight_bits(model, contract(), "int8", pictures, "fp32", exemptions=())
    assert (report.layers, report.quantized_layers, report.mac_share) == (1, 1, 1.0)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = np.abs(stored["w1"]).max(axis=(1, 2, 3), keepdims=True) / 127
    weights = np.round(stored["w1"] / scales) * scales
    step = float(steps(int8)["x"])
    canvases = [place_on_canvas([read_image(path)], contract())[0] for path in pictures]
    assert step == pytest.approx(np.max(canvases) / 127, rel=1e-6), "of 324 values all lie within"
    images = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    x = np.clip(np.round(images.astype(np.float32) / np.float32(step)), -128, 127) * step
    wanted = np.einsum("bhwc,oc->bohw", x, weights[:, :, 0, 0]) + stored["b1"][:, None, None]
    session = ort.InferenceSession(int8.SerializeToString(), providers=["CPUExecutionProvider"])
    sizes = np.array([[SIDE, SIDE]], np.int32)
    (found,) = session.run(None, {"images": images, "image_sizes": sizes})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-2)


def steps(model: onnx.ModelProto) -> dict[str, float]:
    """Scales of activations by tensor."""
    graph = TypedGraph(model)
    return {
        node.input[0]: float(numpy_helper.to_array(graph.stored[node.input[1]]))
        for node in graph.nodes
        if node.op_type == "QuantizeLinear"
    }


@pytest.mark.parametrize("precision", EIGHT_BITS)
def test_layers_at_pixels_and_predictions_stay_in_the_rest(
    pictures: list[Path], precision: EightBits
) -> None:
    model, before = row(), row().SerializeToString()
    typed, report = to_eight_bits(model, contract(), precision, pictures)
    assert model.SerializeToString() == before
    assert report.left_out == {"a": "pixels", "y": "predictions"}
    assert done_layers(typed) == {"b"}
    assert report.mac_share == pytest.approx(16 / 44)
    cost = graph_macs(typed)
    assert [cost.share_of(p) for p in (precision, "fp16", "fp32")] == pytest.approx(
        [16 / 44, 28 / 44, 0]
    )
    assert f"{precision.upper()}: 1 of 3 layers, 36.4% of their MACs, calibrated on 3" in str(
        report
    )


def test_weights_computed_from_stored_ones_stay_in_the_rest(pictures: list[Path]) -> None:
    swapped = "t = Transpose <perm = [1, 0, 2, 3]> (w2)\nb = Conv (r, t)"
    text = ROW.replace("b = Conv (r, w2)", swapped)
    typed, report = to_eight_bits(row(text), contract(), "int8", pictures, exemptions=())
    assert report.left_out == {"b": "computed weights"}
    assert done_layers(typed) == {"a", "y"}


def test_fp8_takes_no_kernel_of_32_taps(pictures: list[Path]) -> None:
    text = ROW.replace("b = Conv (r, w2)", "b = Conv <pads = [3, 3, 2, 2]> (r, wide)")
    model = row(text, wide=(4, 4, 6, 6))
    for precision, wanted in (("fp8", {"b": "wide kernels"}), ("int8", {})):
        _, report = to_eight_bits(model, contract(), precision, pictures, exemptions=())
        assert report.left_out == wanted


def test_a_bias_keeps_its_factor(pictures: list[Path]) -> None:
    text = """g (uint8[1, 6, 6, 3] images, int32[1, 2] image_sizes) => (float[36, 4] y) {
        pixels = Cast <to = 1> (images)
        shape = Constant <value = int64[2] {36, 3}> ()
        x = Reshape (pixels, shape)
        y = Gemm <beta = 0.5> (x, v1, b1)
    }"""
    typed, _ = to_eight_bits(row(text, v1=(3, 4)), contract(), "int8", pictures, exemptions=())
    (gemm,) = (n for n in typed.graph.node if n.name == "y")
    assert [a.f for a in gemm.attribute if a.name == "beta"] == [0.5]


def test_a_model_without_layers_for_int8_is_refused(pictures: list[Path]) -> None:
    text = ROW.replace("(r, w2)", "(r, t)").replace("a = Conv", "t = Identity (w2)\na = Conv")
    with pytest.raises(ExportError, match="none of 3 layers can become INT8"):
        to_eight_bits(row(text), contract(), "int8", pictures)


def test_batches_are_filled_with_pictures(pictures: list[Path]) -> None:
    """Three pictures in batches of two: the fourth place is no black canvas, whose range is 0."""
    text = ROW.replace("[1, 6", "[2, 6").replace("[1, 2]", "[2, 2]").replace("[1, 4", "[2, 4")
    one = calibrated(row(), contract(), [*pictures, pictures[0]])
    two = calibrated(row(text), contract(2), pictures)
    assert one.keys() == two.keys() >= {"x", "r", "s"}
    assert two == pytest.approx(one, rel=1e-6)


def test_a_range_leaves_out_one_value_of_a_hundred_thousand() -> None:
    """400 x 500 values, of which the two largest may lie beyond."""
    text = """<ir_version: 8, opset_import: ["" : 18]>
        g (float[400, 500] x) => (float[400, 4] y) {
        r = Relu (x)
        y = Gemm (r, model.w)
    }"""
    model = parser.parse_model(text.replace("model.w", "w"))
    weight = numpy_helper.from_array(np.ones((500, 4), np.float32), "w")
    model.graph.initializer.append(weight)
    model.graph.node[1].name = "/model/y/Gemm"
    x = np.zeros((400, 500), np.float32)
    x[3, :3] = 1000, 100, 7
    x[5, 5] = 5
    assert ranges_over(model, [{"x": x}], 1)["r"] == 7
    assert ranges_over(model, [{"x": x}, {"x": np.full_like(x, 3)}], 2)["r"] == 3


def test_no_pictures_and_broken_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures found"):
        to_eight_bits(row(), contract(), "int8", [])
    broken = tmp_path / "a.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match="not a whole picture"):
        to_eight_bits(row(), contract(), "int8", [broken])


def test_few_pictures_are_told(pictures: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    _, report = to_eight_bits(row(), contract(), "int8", pictures)
    assert report.warning is not None
    assert report.warning.startswith("calibrated on 3 pictures; expected 32 or more")
    assert "calibrated on 1 picture;" in (few_pictures(1) or "")
    assert few_pictures(32) is None
    assert capfd.readouterr().out == ""
