"""The GridSample body computes what the specification says, and what the other body computes."""

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, checker, helper, inliner

from maskrt.engines.kernels.reference import roi_align
from maskrt.export.operators.domain import DOMAIN
from maskrt.export.operators.grid_sample_body import grid_sample_function
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.operators.roi_align import ROI_ALIGN
from maskrt.runtime.errors import ExportError

Array = npt.NDArray[np.generic]
Case = tuple[int, int, float, int]

# Features lie in [-1, 1] and positions below 64: FP32 rounds a position in cells, and again in the
# frame of GridSample (2^-19 each), times the steepest slope, 2 per cell.
FP32_TOLERANCE = 1e-5
# A huge box's positions are rounded in steps of 2^-16 at 300 cells.
HUGE_TOLERANCE = 1e-4
# One rounding of features and one of the output to 11 bits; all else is FP32.
FP16_TOLERANCE = 2e-3

CASES = [(7, 0.25, 2, 1), (14, 0.25, 1, 1), (14, 0.25, 2, 2), (5, 0.3, 3, 3), (7, 0.25, 0, 1),
         (14, 0.3, 0, 2)]  # fmt: skip
NAMES = ["two samples", "one sample", "step 2", "step 3", "adaptive", "adaptive, step 2"]


def call_model(
    x: Array, rois: Array, case: Case, *, opset: int = 17, grid_sample: bool = True
) -> onnx.ModelProto:
    p, scale, s, step = case
    dtype = helper.np_dtype_to_tensor_dtype(x.dtype)
    attributes = {"output_size": p, "spatial_scale": scale, "sampling_ratio": s, "bin_step": step}
    node = helper.make_node(ROI_ALIGN, ["X", "rois"], ["Y"], "align", domain=DOMAIN, **attributes)
    side = -(-p // step)
    y_shape = (rois.shape[0] * rois.shape[1], x.shape[1], side, side)
    inputs = [
        helper.make_tensor_value_info("X", dtype, x.shape),
        helper.make_tensor_value_info("rois", TensorProto.FLOAT, rois.shape),
    ]
    outputs = [helper.make_tensor_value_info("Y", dtype, y_shape)]
    graph = helper.make_graph([node], "one call", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if grid_sample:
        model.functions.append(grid_sample_function(opset))
    return add_functions(model)


def run(model: onnx.ModelProto, x: Array, rois: Array) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x, "rois": rois})[0]


def random_map() -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).uniform(-1, 1, (2, 3, 20, 31)).astype(np.float32)


def random_boxes(boxes: int = 60) -> npt.NDArray[np.float32]:
    """For two images of 80 x 124 px: inside, across borders, outside, without extent, mirrored."""
    rng = np.random.default_rng(8)
    corner = rng.uniform(-30, (150, 100), (2, boxes, 2))
    extent = np.exp(rng.uniform(-2, 4.5, (2, boxes, 2)))
    extent[:, ::10] = 0
    extent[:, 5::10] *= -1
    return np.concatenate([corner, corner + extent], 2).astype(np.float32)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_random_boxes_of_two_images_match_the_float64_reference(case: Case) -> None:
    x, rois = random_map(), random_boxes()
    want = roi_align(x, rois, *case)
    assert (want == 0).all((1, 2, 3)).any(), "some boxes are wholly outside"
    assert (want != 0).all((1, 2, 3)).any(), "some wholly inside"
    assert (want != 0).any((1, 2, 3)).mean() > 0.25
    got = run(call_model(x, rois, case), x, rois)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=FP32_TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_huge_boxes_are_read_where_they_cross_the_map(case: Case) -> None:
    x = random_map()
    rois = np.array([[[-1000, -900, 1200, 1100]], [[-3, -500, 130, 620]]], np.float32)
    want = roi_align(x, rois, *case)
    np.testing.assert_allclose(run(call_model(x, rois, case), x, rois), want, 0, HUGE_TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_half_features_are_sampled_in_float(case: Case) -> None:
    x, rois = random_map().astype(np.float16), random_boxes()
    got = run(call_model(x, rois, case), x, rois)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, roi_align(x, rois, *case), rtol=0, atol=FP16_TOLERANCE)


def test_half_features_far_from_the_origin_keep_float_coordinates() -> None:
    # Above 1024 half knows whole numbers only: a coordinate in half would be tenths on this ramp.
    x = np.zeros((1, 2, 4, 2000), np.float16)
    x[:, :, :, 1490:] = (np.arange(510) % 4) / 4
    rois = np.array([[[1500.3, 0.5, 1512.7, 3.5]]], np.float32)
    case = (4, 1.0, 2, 1)
    got = run(call_model(x, rois, case), x, rois)
    np.testing.assert_allclose(got, roi_align(x, rois, *case), rtol=0, atol=FP16_TOLERANCE)


def test_a_sample_on_the_last_cell_and_the_first_counts_in_full() -> None:
    # Clamped samples lie on the map's edge, where the zeros beside it must have no weight.
    x = np.ones((1, 1, 4, 6), np.float32)
    rois = np.array([[[-0.5, -0.5, 6.5, 4.5]]], np.float32)
    got = run(call_model(x, rois, (7, 1.0, 2, 1)), x, rois)
    np.testing.assert_allclose(got, 1, atol=FP32_TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_both_bodies_compute_the_same(case: Case) -> None:
    x, rois = random_map(), random_boxes()
    got, other = (run(call_model(x, rois, case, grid_sample=g), x, rois) for g in (True, False))
    np.testing.assert_allclose(got, other, rtol=0, atol=2 * FP32_TOLERANCE)


@pytest.mark.parametrize("opset", [17, 18, 19])
def test_inlined_body_passes_the_checker_and_computes_the_same(opset: int) -> None:
    x, rois = random_map(), random_boxes(10)
    model = call_model(x, rois, CASES[0], opset=opset)
    checker.check_model(model, full_check=True)
    flat = inliner.inline_local_functions(model)
    checker.check_model(flat, full_check=True)
    assert [node.op_type for node in flat.graph.node].count("GridSample") == 1
    assert {node.domain for node in flat.graph.node} == {""}
    np.testing.assert_array_equal(run(flat, x, rois), run(model, x, rois))


@pytest.mark.parametrize("samples", [2, 0], ids=["two samples", "adaptive"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_inlined_body_builds_in_tensorrt_rtx(dtype: type, samples: int) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    x, rois = random_map().astype(dtype), random_boxes(20)
    flat = inliner.inline_local_functions(call_model(x, rois, (14, 0.25, samples, 2)))
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network()
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(flat.SerializeToString()), parser.get_error(0).desc()
    assert network.get_output(0).dtype == (trt.float16 if dtype is np.float16 else trt.float32)
    assert tuple(network.get_output(0).shape) == (40, 3, 7, 7)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None


@pytest.mark.parametrize("opset", [16, 20])
def test_an_opset_that_writes_grid_sample_otherwise_is_refused(opset: int) -> None:
    with pytest.raises(ExportError, match=f"opset {opset} found; expected 17 to 19"):
        grid_sample_function(opset)
