"""MaskrtRoiAlign: one specification, four readers (numpy here, ONNX Runtime, inlined, TensorRT)."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, helper, inliner

from maskrt.export.operators.domain import DOMAIN
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.operators.product_body import roi_align_function
from maskrt.export.operators.roi_align import (
    ROI_ALIGN,
    roi_align_attributes,
    roi_align_nodes,
)
from maskrt.runtime.errors import ExportError

Array = npt.NDArray[np.generic]

# Features lie in [-1, 1] and positions below 128: a position's FP32 rounding (1e-5) times the
# steepest slope (2 per pixel) stays below this.
FP32_TOLERANCE = 1e-4
# Three roundings to 11 bits (weights, first product, second product) of values up to 1.
FP16_TOLERANCE = 3 * 2.0**-11


def reference(x: Array, rois: Array, p: int, scale: float, s: int) -> npt.NDArray[np.float64]:
    """RoIAlign sample by sample in float64, straight from the definition."""
    b, c, h, w = x.shape
    out = np.zeros((b, rois.shape[1], c, p, p))
    for i, k in np.ndindex(b, rois.shape[1]):
        x1, y1, x2, y2 = rois[i, k].astype(np.float64) * scale - 0.5
        steps = (np.arange(p * s) + 0.5) / (p * s)
        xs, ys = x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)
        inside = ((ys >= -1) & (ys <= h))[:, None] & ((xs >= -1) & (xs <= w))[None]
        xs, ys = xs.clip(0, w - 1), ys.clip(0, h - 1)
        x0, y0 = np.floor(xs).astype(int), np.floor(ys).astype(int)
        xn, yn = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
        fx, fy = (xs - x0)[None], (ys - y0)[:, None]
        f = x[i].astype(np.float64)
        top = f[:, y0][:, :, x0] * (1 - fx) + f[:, y0][:, :, xn] * fx
        low = f[:, yn][:, :, x0] * (1 - fx) + f[:, yn][:, :, xn] * fx
        samples = (top * (1 - fy) + low * fy) * inside
        out[i, k] = samples.reshape(c, p, s, p, s).mean((2, 4))
    return out.reshape(-1, c, p, p)


def call_model(
    x_shape: tuple[int, ...],
    boxes: int,
    p: int = 7,
    scale: float = 0.25,
    s: int = 2,
    *,
    half: bool = False,
    opset: int = 17,
    op_type: str = ROI_ALIGN,
) -> onnx.ModelProto:
    """A model of one bare node that carries the three attributes the exporter knows."""
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    b, c = x_shape[:2]
    attributes = {"output_size": p, "spatial_scale": scale, "sampling_ratio": s}
    node = helper.make_node(op_type, ["X", "rois"], ["Y"], "align", domain=DOMAIN, **attributes)
    x = helper.make_tensor_value_info("X", dtype, x_shape)
    rois = helper.make_tensor_value_info("rois", TensorProto.FLOAT, (b, boxes, 4))
    y = helper.make_tensor_value_info("Y", dtype, (b * boxes, c, p, p))
    graph = helper.make_graph([node], "one call", [x, rois], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto, x: Array, rois: Array) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x, "rois": rois})[0]


def random_case(boxes: int = 500) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Two images; boxes inside, across borders, wholly outside, empty and one pixel thin."""
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 1, (2, 3, 20, 31)).astype(np.float32)
    corner = rng.uniform(-60, 160, (2, boxes, 2))
    extent = np.exp(rng.uniform(-2, 5, (2, boxes, 2)))
    extent[:, ::10] = 0
    return x, np.concatenate([corner, corner + extent], 2).astype(np.float32)


@pytest.mark.parametrize(("p", "s", "scale"), [(7, 2, 0.25), (14, 1, 0.25), (3, 3, 0.3)])
def test_thousand_boxes_of_two_images_match_the_float64_reference(
    p: int, s: int, scale: float
) -> None:
    x, rois = random_case()
    got = run(add_functions(call_model(x.shape, rois.shape[1], p, scale, s)), x, rois)
    want = reference(x, rois, p, scale, s)
    assert (want == 0).any(), "the case has samples outside"
    np.testing.assert_allclose(got, want, atol=FP32_TOLERANCE)


def test_body_equals_the_native_operator() -> None:
    x, rois = random_case()
    got = run(add_functions(call_model(x.shape, rois.shape[1])), x, rois)
    native = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3, 20, 31] X, float[1000, 4] rois, int64[1000] image)
            => (float[1000, 3, 7, 7] Y)
        { Y = RoiAlign <coordinate_transformation_mode = "half_pixel", output_height = 7,
                        output_width = 7, sampling_ratio = 2, spatial_scale = 0.25>
              (X, rois, image) }""")
    session = ort.InferenceSession(native.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.repeat(np.arange(2), rois.shape[1])
    want = session.run(None, {"X": x, "rois": rois.reshape(-1, 4), "image": image})[0]
    np.testing.assert_allclose(got, want, atol=FP32_TOLERANCE)


def test_known_answer_of_detectron2() -> None:
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    rois = np.array([[[1, 1, 3, 3]]], np.float32)
    got = run(add_functions(call_model(x.shape, 1, p=4, scale=1.0)), x, rois)
    want = np.array([4.5, 5.0, 5.5, 6.0]) + 2.5 * np.arange(4)[:, None]
    np.testing.assert_allclose(got[0, 0], want, atol=1e-5)


def test_half_features_keep_float_coordinates() -> None:
    # Feature pixels 1500 and up: half knows only whole numbers there, so any coordinate in half
    # would show as an error of tenths on this ramp of slope 1/4.
    x = np.zeros((1, 2, 4, 2000), np.float16)
    x[:, :, :, 1490:] = (np.arange(510) % 4) / 4
    rois = np.array([[[1500.3, 0.5, 1512.7, 3.5]]], np.float32)
    got = run(add_functions(call_model(x.shape, 1, p=4, scale=1.0, half=True)), x, rois)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, reference(x, rois, 4, 1.0, 2), atol=FP16_TOLERANCE)


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_inlined_body_passes_the_checker_and_computes_the_same(opset: int) -> None:
    x, rois = random_case(20)
    model = add_functions(call_model(x.shape, 20, opset=opset))
    checker.check_model(model, full_check=True)
    flat = inliner.inline_local_functions(model)
    checker.check_model(flat, full_check=True)
    assert not flat.functions
    assert {node.domain for node in flat.graph.node} == {""}
    np.testing.assert_array_equal(run(flat, x, rois), run(model, x, rois))


@pytest.mark.parametrize("samples", [2, 0], ids=["two samples", "adaptive"])
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_inlined_body_builds_in_tensorrt_rtx(half: bool, samples: int) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    model = add_functions(call_model((2, 8, 20, 31), 50, p=14, s=samples, half=half))
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network()
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    flat = inliner.inline_local_functions(model)
    assert parser.parse(flat.SerializeToString()), parser.get_error(0).desc()
    assert network.get_output(0).dtype == (trt.float16 if half else trt.float32)
    assert tuple(network.get_output(0).shape) == (100, 8, 14, 14)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None


def test_one_function_serves_calls_with_different_attributes() -> None:
    model = call_model((1, 3, 20, 31), 4, p=7)
    second = helper.make_node(
        ROI_ALIGN, ["X", "rois"], ["Z"], "other", domain=DOMAIN,
        output_size=2, spatial_scale=0.5, sampling_ratio=1,
    )  # fmt: skip
    model.graph.node.append(second)
    model.graph.output.append(helper.make_tensor_value_info("Z", TensorProto.FLOAT, (4, 3, 2, 2)))
    ready = add_functions(model)
    assert [f.name for f in ready.functions] == [ROI_ALIGN]
    x, rois = random_case(4)
    session = ort.InferenceSession(ready.SerializeToString(), providers=["CPUExecutionProvider"])
    y, z = session.run(None, {"X": x[:1], "rois": rois[:1]})
    np.testing.assert_allclose(y, reference(x[:1], rois[:1], 7, 0.25, 2), atol=FP32_TOLERANCE)
    np.testing.assert_allclose(z, reference(x[:1], rois[:1], 2, 0.5, 1), atol=FP32_TOLERANCE)


def test_every_call_carries_what_the_plugin_reads() -> None:
    model = call_model((1, 3, 20, 31), 4, p=14, scale=0.0625)
    (node,) = roi_align_nodes(add_functions(model))
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert found == {
        "output_size": 14,
        "sampling_ratio": 2,
        "spatial_scale": 0.0625,
        "bin_step": 1,
        "cfg": b"oh=14;ow=14;sr=2;step=1;scale=0.0625;aligned=1",
        "plugin_namespace": b"maskrt",
        "plugin_version": b"1",
        "aot": 1,
    }
    assert len(model.graph.node[0].attribute) == 3, "the model that was given is left alone"


def test_model_without_our_nodes_is_returned_unchanged() -> None:
    plain = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) { y = Relu(x) }'
    )
    assert add_functions(plain) == plain


def test_adding_functions_twice_changes_nothing() -> None:
    once = add_functions(call_model((1, 3, 20, 31), 4))
    assert add_functions(once) == once


def test_unknown_operator_of_the_domain_is_refused() -> None:
    with pytest.raises(ExportError, match="maskrt::Other found; expected MaskrtRoiAlign"):
        add_functions(call_model((1, 3, 20, 31), 4, op_type="Other"))


def test_missing_attribute_is_named() -> None:
    model = call_model((1, 3, 20, 31), 4)
    del model.graph.node[0].attribute[0]
    with pytest.raises(ExportError, match=r"node 'align': .* missing"):
        add_functions(model)


@pytest.mark.parametrize("bad", [(0, 0.25, 2), (7, 0.0, 2), (7, 0.25, -1), (7, 0.25, 2, 0)])
def test_impossible_attributes_are_refused(bad: tuple[int, float, int]) -> None:
    with pytest.raises(ExportError, match="expected at least 1"):
        roi_align_attributes(*bad)


def test_old_opset_is_refused() -> None:
    with pytest.raises(ExportError, match="opset 16 found"):
        roi_align_function(16)
