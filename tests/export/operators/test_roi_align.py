"""Both bodies of `MaskrtRoiAlign` compute what the specification says, and TensorRT reads them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import checker, inliner

from maskrt.engines.kernels.reference import roi_align
from maskrt.export.operators.grid_sample_body import grid_sample_function
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.operators.product_body import roi_align_function
from maskrt.export.operators.roi_align import roi_align_attributes
from maskrt.runtime.errors import ExportError

from .conftest import Array, Case, bare_call, random_boxes, random_map, run

BODIES = ["products", "GridSample"]
# Features lie in [-1, 1] and positions below 64: FP32 rounds a position in cells, and GridSample's
# once more in its frame (2^-19 each), times the steepest slope, 2 per cell.
FP32_TOLERANCE = 1e-5
# A huge box's positions are rounded in steps of 2^-16 at 300 cells.
HUGE_TOLERANCE = 1e-4
# Three roundings to 11 bits (weights, first product, second product) of values up to 1.
FP16_TOLERANCE = 3 * 2.0**-11

CASES = {
    "two samples": (7, 0.25, 2, 1),
    "one sample": (14, 0.25, 1, 1),
    "step 2": (14, 0.25, 2, 2),
    "step 3": (5, 0.3, 3, 3),
    "adaptive": (7, 0.25, 0, 1),
    "adaptive, step 2": (14, 0.3, 0, 2),
}

both_bodies = pytest.mark.parametrize("body", BODIES)
fixed_and_adaptive = pytest.mark.parametrize("case", [CASES["step 3"], CASES["adaptive, step 2"]])


def call(x: Array, rois: Array, case: Case, body: str, opset: int = 17) -> onnx.ModelProto:
    model = bare_call(x, rois, case, opset=opset)
    if body == "GridSample":
        model.functions.append(grid_sample_function(opset))
    return add_functions(model)


@both_bodies
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_random_boxes_of_two_images_match_the_float64_reference(case: Case, body: str) -> None:
    x, rois = random_map(), random_boxes()
    want = roi_align(x, rois, *case)
    assert (want == 0).all((1, 2, 3)).any(), "some boxes are wholly outside"
    assert (want != 0).all((1, 2, 3)).any(), "some wholly inside"
    assert (want != 0).any((1, 2, 3)).mean() > 0.25
    (got,) = run(call(x, rois, case, body), x, rois)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=FP32_TOLERANCE)


@both_bodies
@fixed_and_adaptive
def test_huge_boxes_are_read_where_they_cross_the_map(case: Case, body: str) -> None:
    x = random_map()
    rois = np.array([[[-1000, -900, 1200, 1100]], [[-3, -500, 130, 620]]], np.float32)
    (got,) = run(call(x, rois, case, body), x, rois)
    np.testing.assert_allclose(got, roi_align(x, rois, *case), rtol=0, atol=HUGE_TOLERANCE)


@both_bodies
@fixed_and_adaptive
def test_half_features_give_halves(case: Case, body: str) -> None:
    x, rois = random_map().astype(np.float16), random_boxes()
    (got,) = run(call(x, rois, case, body), x, rois)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, roi_align(x, rois, *case), rtol=0, atol=FP16_TOLERANCE)


@both_bodies
def test_half_features_far_from_the_origin_keep_float_coordinates(body: str) -> None:
    # Above 1024 half knows whole numbers only: a coordinate in half would be tenths on this ramp.
    x = np.zeros((1, 2, 4, 2000), np.float16)
    x[:, :, :, 1490:] = (np.arange(510) % 4) / 4
    rois = np.array([[[1500.3, 0.5, 1512.7, 3.5]]], np.float32)
    case = (4, 1.0, 2, 1)
    (got,) = run(call(x, rois, case, body), x, rois)
    np.testing.assert_allclose(got, roi_align(x, rois, *case), rtol=0, atol=FP16_TOLERANCE)


@both_bodies
def test_a_sample_on_the_last_cell_and_the_first_counts_in_full(body: str) -> None:
    # Clamped samples lie on the map's edge, where the zeros beside it must have no weight.
    x = np.ones((1, 1, 4, 6), np.float32)
    rois = np.array([[[-0.5, -0.5, 6.5, 4.5]]], np.float32)
    (got,) = run(call(x, rois, (7, 1.0, 2, 1), body), x, rois)
    np.testing.assert_allclose(got, 1, atol=FP32_TOLERANCE)


def test_the_native_operator_agrees() -> None:
    x, rois = random_map(), random_boxes(500)
    (got,) = run(call(x, rois, CASES["two samples"], "products"), x, rois)
    native = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3, 20, 31] X, float[2, 500, 4] rois) => (float[1000, 3, 7, 7] Y)
        <int64[1000] image = {{{", ".join(["0"] * 500 + ["1"] * 500)}}}, int64[2] rows = {{-1, 4}}>
        {{ flat = Reshape (rois, rows)
           Y = RoiAlign <coordinate_transformation_mode = "half_pixel", output_height = 7,
                         output_width = 7, sampling_ratio = 2, spatial_scale = 0.25>
               (X, flat, image) }}""")
    (want,) = run(native, x, rois)
    np.testing.assert_allclose(got, want, atol=2 * FP32_TOLERANCE)  # both round


@pytest.mark.parametrize(
    ("body", "opset"), [("products", 17), ("products", 20), ("GridSample", 17), ("GridSample", 19)]
)
def test_an_inlined_body_passes_the_checker_and_computes_the_same(body: str, opset: int) -> None:
    x, rois = random_map(), random_boxes(10)
    model = call(x, rois, CASES["two samples"], body, opset)
    checker.check_model(model, full_check=True)
    flat = inliner.inline_local_functions(model)
    checker.check_model(flat, full_check=True)
    operators = [node.op_type for node in flat.graph.node]
    assert operators.count("GridSample") == (body == "GridSample")
    assert operators.count("MatMul") == 2 * (body == "products")
    assert {node.domain for node in flat.graph.node} == {""}
    np.testing.assert_array_equal(run(flat, x, rois), run(model, x, rois))


@both_bodies
@pytest.mark.parametrize(
    ("dtype", "samples"), [(np.float32, 0), (np.float16, 2)], ids=["fp32 adaptive", "fp16 fixed"]
)
def test_an_inlined_body_builds_in_tensorrt_rtx(dtype: type, samples: int, body: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    x, rois = random_map().astype(dtype), random_boxes(20)
    flat = inliner.inline_local_functions(call(x, rois, (14, 0.25, samples, 2), body))
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network()
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(flat.SerializeToString()), parser.get_error(0).desc()
    assert network.get_output(0).dtype == (trt.float16 if dtype is np.float16 else trt.float32)
    assert tuple(network.get_output(0).shape) == (40, 3, 7, 7)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None


@pytest.mark.parametrize("bad", [(0, 0.25, 2), (7, 0.0, 2), (7, 0.25, -1), (7, 0.25, 2, 0)])
def test_impossible_attributes_are_refused(bad: tuple[int, float, int]) -> None:
    with pytest.raises(ExportError, match="expected at least 1"):
        roi_align_attributes(*bad)


def test_opsets_that_a_body_is_not_written_for_are_refused() -> None:
    with pytest.raises(ExportError, match="opset 16 found; expected at least 17"):
        roi_align_function(16)
    for opset in (16, 20):
        with pytest.raises(ExportError, match=f"opset {opset} found; expected 17 to 19"):
            grid_sample_function(opset)
