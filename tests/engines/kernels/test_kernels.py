"""Every implementation of the operators against their specification."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from maskrt.engines.kernels import reference
from maskrt.engines.plugins.operator_config import RoiAlignCfg, WindowAlignCfg
from maskrt.export.operators.local_functions import add_functions
from maskrt.runtime.errors import ContractError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.kernels.launch import kernel_here
from maskrt.runtime.gpu.kernels.shipped import load_kernel
from maskrt.train.networks.roi_align import roi_align as torch_roi_align
from maskrt.train.networks.windows import window_align as torch_window_align

Array = npt.NDArray[Any]

# Features are in [-1, 1]. A position in FP32 is off by a few of its last bits and neighbours differ
# by 2 at most: this holds up to REACH cells, and grows with the coordinates beyond.
FP32_ERROR = 1e-5
REACH = 64
# Weights, the product along x, the product along y: three roundings to 11 bits, and the output's.
FP16_ERROR = 2e-3
# The kernels round the output only: half a unit in the last of 11 bits.
FP16_ROUNDING = 2.0**-11

STRIDE = 4
MAP = (20, 31)
LEVELS = ((7, 9), (4, 5), (1, 2))
CELLS = sum(h * w for h, w in LEVELS)
WINDOWS = sum((h + 1) * (w + 1) for h, w in LEVELS)


def random_boxes(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """(2, count, 4): inside, across borders, outside, degenerate, mirrored, huge and negative."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-60, 160, (2, count, 2))
    boxes = np.concatenate([low, low + np.exp(rng.uniform(-2, 5, (2, count, 2)))], 2)
    boxes[:, ::10, 2:] = boxes[:, ::10, :2]  # points
    boxes[:, 1::10] = boxes[:, 1::10][:, :, [2, 3, 0, 1]]  # mirrored
    boxes[:, 2::20] -= 1000  # outside, negative
    boxes[:, 3::20] *= 1000  # huge
    boxes[:, 4] = (0, 0, MAP[1] * STRIDE, MAP[0] * STRIDE)
    boxes[:, 13] = (-1e6, -1e6, 1e6, 1e6)
    return boxes.astype(np.float32)


def features(channels: int, dtype: type = np.float32, hw: tuple[int, int] = MAP) -> Array:
    rng = np.random.default_rng(channels)
    return rng.uniform(-1, 1, (2, channels, *hw)).astype(dtype)


def assert_pooled(found: Array, want: Array, boxes: Array, error: float, rounding: float) -> None:
    """Every bin within `error` of the reference, more for boxes that reach far, plus rounding."""
    assert found.shape == want.shape
    reach = np.abs(boxes).max(axis=2).reshape(-1, 1, 1, 1) / STRIDE
    allowed = error * np.maximum(1, reach / REACH) + rounding * np.abs(want)
    excess = np.abs(found.astype(np.float64) - want) - allowed
    assert not np.isnan(excess).any()
    if not excess.size:
        return
    worst = np.unravel_index(excess.argmax(), excess.shape)
    assert excess.max() <= 0, f"box {boxes.reshape(-1, 4)[worst[0]]}: {found[worst]} {want[worst]}"


def run_node(operator: str, inputs: dict[str, Array], **attributes: Any) -> Array:
    """One `maskrt` node by its function body in ONNX Runtime."""
    first = next(iter(inputs.values()))
    node = helper.make_node(operator, list(inputs), ["Y"], "node", domain="maskrt", **attributes)
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    output = helper.make_tensor_value_info(
        "Y", helper.np_dtype_to_tensor_dtype(first.dtype), [None] * 4
    )
    graph = helper.make_graph([node], "one", values, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return run_model(add_functions(model), inputs)


def run_model(model: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def run_torch(x: Array, boxes: Array, bins: int, samples: int) -> Array:
    found = torch_roi_align(torch.tensor(x), torch.tensor(boxes), bins, 1 / STRIDE, samples)
    return np.asarray(found.numpy())


def run_function(x: Array, boxes: Array, bins: int, samples: int, bin_step: int = 1) -> Array:
    attributes = {"output_size": bins, "sampling_ratio": samples, "spatial_scale": 1 / STRIDE}
    attributes["bin_step"] = bin_step
    return run_node("MaskrtRoiAlign", {"X": x, "rois": boxes}, **attributes)


def run_native(x: Array, boxes: Array, bins: int, samples: int) -> Array:
    """ONNX Runtime's own RoiAlign."""
    node = helper.make_node(
        "RoiAlign", ["X", "rois", "image"], ["Y"], coordinate_transformation_mode="half_pixel",
        output_height=bins, output_width=bins, sampling_ratio=samples, spatial_scale=1 / STRIDE,
    )  # fmt: skip
    inputs = {
        "X": x,
        "rois": boxes.reshape(-1, 4),
        "image": np.repeat(np.arange(2, dtype=np.int64), boxes.shape[1]),
    }
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph([node], "native", values, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return run_model(model, inputs)


# The specification itself.


def test_known_answer_of_detectron2() -> None:
    image = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    boxes = np.array([[[1, 1, 3, 3]]], np.float32)
    want = np.array([4.5, 5.0, 5.5, 6.0]) + 2.5 * np.arange(4)[:, None]
    for samples in (1, 2, 0):
        np.testing.assert_allclose(reference.roi_align(image, boxes, 4, 1.0, samples)[0, 0], want)


def test_samples_outside_count_as_zero_and_others_are_clamped() -> None:
    image = np.ones((1, 1, 4, 4))
    # one sample per bin, at -1, -0.5, 0.5, 1 ... of cells: bins of half a cell from -1.75
    box = np.array([[[-1.25, 0.5, 1.25, 3.5]]])  # x from -1.75 to 0.75 in cells, five bins
    row = reference.roi_align(image, box, 5, 1.0, 1)[0, 0, 2]
    np.testing.assert_array_equal(row, [0, 1, 1, 1, 1])  # -1.5 is outside, -1 and on are clamped
    box = np.array([[[2.75, 0.5, 5.25, 3.5]]])  # 2.25 to 4.75: 2.5, 3, 3.5, 4, 4.5
    row = reference.roi_align(image, box, 5, 1.0, 1)[0, 0, 2]
    np.testing.assert_array_equal(row, [1, 1, 1, 1, 0])


def test_adaptive_sampling_counts_by_extent_up_to_a_limit() -> None:
    counts = [reference.sample_count(extent, 7, 0, 5) for extent in (-5, 0, 0.1, 7, 7.1, 1e9)]
    assert counts == [0, 0, 1, 1, 2, 5]
    assert reference.sample_count(1e9, 7, 2, 1) == 2


def test_a_bin_step_leaves_bins_out_and_changes_no_other() -> None:
    x, boxes = features(2), random_boxes(20)
    whole = reference.roi_align(x, boxes, 7, 1 / STRIDE, 2)
    np.testing.assert_array_equal(
        reference.roi_align(x, boxes, 7, 1 / STRIDE, 2, bin_step=3), whole[:, :, ::3, ::3]
    )


def test_images_are_told_apart_by_their_row_of_boxes() -> None:
    x = np.stack([np.zeros((1, 4, 4)), np.ones((1, 4, 4))])
    box = np.tile(np.array([1, 1, 3, 3], np.float32), (2, 3, 1))
    means = reference.roi_align(x, box, 2, 1.0, 2).mean((1, 2, 3))
    np.testing.assert_array_equal(means, [0, 0, 0, 1, 1, 1])


def test_no_boxes_and_no_windows_give_no_rows() -> None:
    none = np.zeros((2, 0, 4), np.float32)
    assert reference.roi_align(features(3), none, 7, 1 / STRIDE, 2).shape == (0, 3, 7, 7)
    windows = reference.window_align(np.zeros((2, CELLS, 8)), np.zeros((2, 0), np.int64), LEVELS)
    assert windows.shape == (0, 10, 10, 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_boxes_that_are_no_numbers_are_refused(bad: float) -> None:
    boxes = random_boxes(20)
    boxes[1, 3, 2] = bad
    with pytest.raises(ContractError, match="1 coordinates are NaN or infinite"):
        reference.roi_align(features(1), boxes, 2, 1.0, 2)


@pytest.mark.parametrize("bad", [-1, WINDOWS])
def test_a_number_of_no_window_is_refused(bad: int) -> None:
    with pytest.raises(ContractError, match=f"window {bad} found; expected 0 to {WINDOWS - 1}"):
        reference.window_align(np.zeros((1, CELLS, 1)), np.array([[bad]]), LEVELS)


# Every implementation against the specification.


@pytest.fixture(scope="module")
def pooled() -> tuple[Array, Array, Array]:
    """FP16 features, 10,000 boxes and their bins (P 7, S 2)."""
    x, boxes = features(2, np.float16), random_boxes(5000)
    return x, boxes, reference.roi_align(x, boxes, 7, 1 / STRIDE, 2)


@pytest.fixture(scope="module")
def pooled_adaptively() -> tuple[Array, Array, Array]:
    """The same with adaptive sampling."""
    x, boxes = features(2, np.float16), random_boxes(5000)
    return x, boxes, reference.roi_align(x, boxes, 7, 1 / STRIDE, 0)


@pytest.mark.parametrize("run", [run_torch, run_function, run_native])
def test_ten_thousand_boxes_in_fp32(
    run: Callable[..., Array], pooled: tuple[Array, Array, Array]
) -> None:
    x, boxes, want = pooled
    assert (want == 0).all((1, 2, 3)).any(), "some boxes are outside"
    assert_pooled(run(x.astype(np.float32), boxes, 7, 2), want, boxes, FP32_ERROR, 0)


@pytest.mark.parametrize("run", [run_torch, run_function])
def test_ten_thousand_boxes_with_adaptive_sampling(
    run: Callable[..., Array], pooled_adaptively: tuple[Array, Array, Array]
) -> None:
    x, boxes, want = pooled_adaptively
    assert_pooled(run(x.astype(np.float32), boxes, 7, 0), want, boxes, FP32_ERROR, 0)
    assert_pooled(run(x, boxes, 7, 0), want, boxes, FP16_ERROR, 0)


@pytest.mark.parametrize(("bins", "step", "samples"), [(14, 2, 0), (7, 3, 2)])
def test_the_body_leaves_bins_out(bins: int, step: int, samples: int) -> None:
    x, boxes = features(2), random_boxes(200)
    want = reference.roi_align(x, boxes, bins, 1 / STRIDE, samples, step)
    found = run_function(x, boxes, bins, samples, bin_step=step)
    assert_pooled(found, want, boxes, FP32_ERROR, 0)


@pytest.mark.parametrize("run", [run_torch, run_function])
def test_ten_thousand_boxes_in_fp16(
    run: Callable[..., Array], pooled: tuple[Array, Array, Array]
) -> None:
    x, boxes, want = pooled
    found = run(x, boxes, 7, 2)
    assert found.dtype == np.float16
    assert_pooled(found, want, boxes, FP16_ERROR, 0)


def test_adaptive_sampling_is_that_of_onnx_runtime() -> None:
    boxes = random_boxes(500)
    extents = (boxes[..., 2:] - boxes[..., :2]).max((0, 2))
    boxes = boxes[:, extents <= max(MAP) * STRIDE]  # it has no limit
    assert boxes.shape[1] > 300
    x = features(3)
    want = reference.roi_align(x, boxes, 7, 1 / STRIDE, 0)
    assert_pooled(run_native(x, boxes, 7, 0), want, boxes, FP32_ERROR, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_windows_are_copied_exactly(dtype: type) -> None:
    pyramid, index = packed_pyramid(6, dtype)
    want = reference.window_align(pyramid, index, LEVELS)
    found = torch_window_align(torch.tensor(pyramid), torch.tensor(index), LEVELS).numpy()
    np.testing.assert_array_equal(found, want)
    shapes = [side for level in LEVELS for side in level]
    inputs = {"X": pyramid, "index": index}
    found = run_node("MaskrtWindowAlign", inputs, size=10, spatial_shapes=shapes)
    np.testing.assert_array_equal(found, want)
    assert found.dtype == dtype


def packed_pyramid(channels: int, dtype: type) -> tuple[Array, npt.NDArray[np.int64]]:
    """A pyramid, and every window of it in another order for each image."""
    rng = np.random.default_rng(1)
    pyramid = rng.normal(size=(2, CELLS, channels)).astype(dtype)
    return pyramid, np.stack([rng.permutation(WINDOWS), rng.permutation(WINDOWS)])


# The Triton kernels, in Triton's interpreter.


@dataclasses.dataclass(frozen=True)
class Pool:
    """A RoIAlign case: P, S, canvas px per cell, how products are made."""

    x: Array
    boxes: Array
    bins: int
    samples: int
    product: str
    stride: int = STRIDE
    step: int = 1

    @property
    def scalars(self) -> tuple[int, ...]:
        batch, boxes = self.boxes.shape[:2]
        return batch, boxes, *self.x.shape[1:], self.bins, self.samples, self.step, self.stride


POOLS = {
    "fp32": Pool(features(3), random_boxes(60), 7, 2, "ieee"),
    "fp32 on tensor cores": Pool(features(3), random_boxes(20, 1), 14, 2, "tf32x3"),
    "fp16 on tensor cores": Pool(features(9, np.float16), random_boxes(20, 2), 14, 2, "halves"),
    "fp16": Pool(features(8, np.float16), random_boxes(20, 3), 7, 1, "ieee"),
    "adaptive": Pool(features(2), random_boxes(20, 5), 7, 0, "ieee"),
    "adaptive fp16": Pool(features(2, np.float16), random_boxes(20, 6), 14, 0, "halves"),
    "every third bin, adaptive": Pool(features(3), random_boxes(20, 11), 7, 0, "ieee", step=3),
    "step and more than 16 bins": Pool(features(3), random_boxes(14, 12), 37, 1, "ieee", step=2),
    "stride of no power of two": Pool(features(1), random_boxes(20, 8), 5, 2, "ieee", 3),
    "one cell": Pool(features(1, hw=(1, 1)), random_boxes(20, 9), 3, 2, "ieee"),
    "no boxes": Pool(features(1), random_boxes(20)[:, :0], 7, 2, "ieee"),
}
WINDOW_CASES = {
    "windows": (6, np.float32, 10),
    "half windows": (6, np.float16, 10),
    "many channels": (130, np.float32, 7),
    "no windows": (6, np.float32, 0),
}


@pytest.fixture(scope="module")
def interpreted(interpret: Callable[[dict[str, Any]], dict[str, Array]]) -> dict[str, Array]:
    """What the kernels make of every case."""
    arrays: dict[str, Any] = {}
    for name, pool in POOLS.items():
        arrays |= case(name, pool.x, pool.boxes, pool.scalars, pool.product)
    arrays |= case("not finite", *odd_boxes_case())
    for name, (channels, dtype, slots) in WINDOW_CASES.items():
        pyramid, index = packed_pyramid(channels, dtype)
        arrays |= case(name, *window_case(pyramid, index[:, :slots]))
    pyramid, index = packed_pyramid(2, np.float32)
    arrays |= case("no such window", *window_case(pyramid, np.full((2, 2), [-1, WINDOWS])))
    return interpret(arrays)


def case(
    name: str, first: Array, second: Array, scalars: Sequence[int], product: str
) -> dict[str, Any]:
    parts = {"first": first, "second": second, "scalars": scalars, "product": product}
    return {f"{name}.{part}": value for part, value in parts.items()}


def odd_boxes_case() -> tuple[Array, Array, tuple[int, ...], str]:
    boxes = np.array(
        [[[np.nan, 1, 9, 9], [1, -np.inf, 9, 9], [-np.inf, 1, np.inf, 9], [1, 1, 9, np.nan]]] * 2,
        np.float32,
    )
    pool = Pool(features(2), boxes, 7, 2, "ieee")
    return pool.x, pool.boxes, pool.scalars, pool.product


def window_case(
    pyramid: Array, index: npt.NDArray[np.int64]
) -> tuple[Array, Array, tuple[int, ...], str]:
    """The kernel moves 32-bit words, whatever they hold."""
    kernel = load_kernel("window_align", "8.0")
    launch = WindowAlignCfg(10, LEVELS).launch(
        kernel, pyramid.shape, index.shape, pyramid.dtype == np.float16
    )
    return pyramid.view(np.int32), np.ascontiguousarray(index), launch.scalars, ""


@pytest.mark.parametrize("name", POOLS)
def test_roi_align_kernel(name: str, interpreted: dict[str, Array]) -> None:
    pool = POOLS[name]
    scale = 1 / pool.stride
    want = reference.roi_align(pool.x, pool.boxes, pool.bins, scale, pool.samples, pool.step)
    rounding = FP16_ROUNDING if pool.x.dtype == np.float16 else 0
    assert interpreted[name].dtype == pool.x.dtype
    assert_pooled(interpreted[name], want, pool.boxes, FP32_ERROR, rounding)


def test_boxes_that_are_no_numbers_give_zeros(interpreted: dict[str, Array]) -> None:
    assert interpreted["not finite"].shape == (8, 2, 7, 7)
    assert not interpreted["not finite"].any()


@pytest.mark.parametrize("name", WINDOW_CASES)
def test_window_align_kernel(name: str, interpreted: dict[str, Array]) -> None:
    channels, dtype, slots = WINDOW_CASES[name]
    pyramid, index = packed_pyramid(channels, dtype)
    want = reference.window_align(pyramid, index[:, :slots], LEVELS)
    np.testing.assert_array_equal(interpreted[name].view(dtype), want)


def test_a_number_of_no_window_gives_zeros(interpreted: dict[str, Array]) -> None:
    assert interpreted["no such window"].shape == (4, 10, 10, 2)
    assert not interpreted["no such window"].any()


# The compiled kernels on a GPU.

on_gpu = pytest.mark.skipif(
    cuda.missing_device() is not None, reason=f"no GPU here: {cuda.missing_device()}"
)


def run_on_gpu(name: str, arrays: Sequence[Array], output: Array, launch: Any) -> Array:
    """Start a shipped kernel as TensorRT does, by the driver alone."""
    cuda.require_device("test")
    stream = cuda.Stream()
    arrays = [np.ascontiguousarray(array) for array in arrays]
    buffers = [cuda.DeviceBuffer(array.nbytes) for array in (*arrays, output)]
    for buffer, array in zip(buffers, (*arrays, output), strict=True):
        cuda.copy_to_device(buffer, array, stream)
    *inputs, result = (buffer.pointer for buffer in buffers)
    loaded = kernel_here(name)
    planned = launch(loaded.kernel)
    loaded.launch(planned.grid, inputs, planned.scalars, result, stream.handle)
    cuda.copy_to_host(output, buffers[-1], stream)
    stream.synchronize()
    for resource in (*buffers, stream):
        resource.close()
    return output


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("bins", "samples", "step"), [(14, 2, 1), (7, 1, 1), (20, 3, 1), (7, 0, 1), (14, 2, 2)]
)
def test_roi_align_on_a_gpu(bins: int, samples: int, step: int, dtype: type) -> None:
    x, boxes = features(17, dtype), random_boxes(500)
    cfg = RoiAlignCfg(bins, samples, step, STRIDE)
    half = dtype == np.float16
    found = run_on_gpu(
        cfg.kernel_name(half),
        (x, boxes),
        np.full((1000, 17, cfg.side, cfg.side), np.nan, dtype),
        lambda kernel: cfg.launch(kernel, x.shape, boxes.shape, half),
    )
    want = reference.roi_align(x, boxes, bins, 1 / STRIDE, samples, step)
    assert_pooled(found, want, boxes, FP32_ERROR, FP16_ROUNDING if half else 0)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_window_align_on_a_gpu(dtype: type) -> None:
    pyramid, index = packed_pyramid(130, dtype)
    cfg = WindowAlignCfg(10, LEVELS)
    found = run_on_gpu(
        "window_align",
        (pyramid, index),
        np.full((2 * WINDOWS, 10, 10, 130), np.nan, dtype),
        lambda kernel: cfg.launch(kernel, pyramid.shape, index.shape, dtype == np.float16),
    )
    np.testing.assert_array_equal(found, reference.window_align(pyramid, index, LEVELS))
