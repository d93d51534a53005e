"""The ahead-of-time plugins, against a stand-in for `tensorrt.plugin`.

The stand-in has what the plugins use, and is as narrow as the real thing where that is narrow:
expressions compute with themselves on the left only, extra arguments are int32, annotations must be
objects. With TensorRT and a GPU, engines are built and run.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from maskrt.engines.kernels import reference
from maskrt.runtime.errors import BuildError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.gpu.cuda import DeviceInfo
from maskrt.runtime.gpu.kernels.shipped import load_kernel

DataType = Enum("DataType", "FLOAT HALF BF16 INT32 INT64")
ROI_ALIGN, WINDOW_ALIGN = "maskrt::MaskrtRoiAlign", "maskrt::MaskrtWindowAlign"
PYRAMID_ROI_ALIGN = "maskrt::MaskrtPyramidRoiAlign"
ROI_CFG = "oh=14;ow=14;sr=2;step=1;scale=0.0625;aligned=1\0"
PYRAMID_CFG = "size=7;sr=0;aligned=1;shapes=20x31,10x16;strides=4,8;borders=784.0\0"
WINDOW_CFG = "size=10;shapes=50x76,34x51\0"


class Size:
    """A symbolic size; `value` None is the fake one of TensorRT's first call."""

    def __init__(self, value: int | None) -> None:
        self.value = value

    @property
    def is_fake(self) -> bool:
        return self.value is None

    @property
    def is_constant(self) -> bool:
        return self.constant_value() >= 0

    def constant_value(self) -> int:
        if self.value is None:
            raise RuntimeError("Not accessible for fake")
        return self.value

    def _with(self, other: Size | int, made: Any) -> Size:
        right = other.value if isinstance(other, Size) else other
        return Size(None if self.value is None or right is None else made(self.value, right))

    def __mul__(self, other: Size | int) -> Size:
        return self._with(other, lambda a, b: a * b)

    def __floordiv__(self, other: Size | int) -> Size:
        return self._with(other, lambda a, b: a // b)

    def __bool__(self) -> bool:
        raise RuntimeError("Cannot evaluate symbolic expression as boolean")


class TensorDesc:
    def __init__(self, shape: tuple[Any, ...], dtype: DataType) -> None:
        self.shape_expr, self.dtype = shape, dtype


class KernelLaunchParams:
    def __init__(self, grid_x: Any = 1, grid_y: Any = 1, grid_z: Any = 1) -> None:
        self.grid_x, self.grid_y, self.grid_z = grid_x, grid_y, grid_z
        self.block_x = self.block_y = self.block_z = 1
        self.shared_mem = 0

    def __setattr__(self, name: str, value: Any) -> None:
        grid_block = [f"{part}_{axis}" for part in ("grid", "block") for axis in "xyz"]
        assert name in (*grid_block, "shared_mem")
        super().__setattr__(name, value)

    def numbers(self) -> tuple[int, ...]:
        names = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")
        return tuple(number(getattr(self, name)) for name in names)


class SymExprs(list[Any]):
    @classmethod
    def from_tuple(cls, values: tuple[Any, ...]) -> SymExprs:
        assert all(isinstance(value, (int, Size)) for value in values)
        return cls(values)


def number(value: Size | int) -> int:
    return value.constant_value() if isinstance(value, Size) else value


def tensor_plugin() -> Any:
    """The stand-in module; `registered` and `implemented` are by plugin id."""
    module: Any = ModuleType("tensorrt.plugin")
    module.registered, module.implemented = {}, {}
    module.TensorDesc, module.KernelLaunchParams = TensorDesc, KernelLaunchParams
    module.SymExprs = SymExprs
    module.from_shape_expr = TensorDesc
    module.cdiv = lambda a, b: a._with(b, lambda x, y: -(-x // y))
    module.max = lambda a, b: a._with(b, max)

    def keep(into: dict[str, Any]) -> Any:
        return lambda name: lambda function: into.setdefault(name, function)

    module.register, module.aot_impl = keep(module.registered), keep(module.implemented)
    return module


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fresh import of the plugins over the stand-in, with the stand-in as `trtp`."""
    package: Any = ModuleType("tensorrt")
    package.plugin = tensor_plugin()
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", package.plugin)
    name = "maskrt.engines.plugins.tensorrt_aot"
    previous = sys.modules.pop(name, None)
    module = importlib.import_module(name)
    gpu = DeviceInfo("a GPU", "8.9", "13.0", 1)
    monkeypatch.setattr(module, "device_info", lambda: gpu)
    yield module
    del sys.modules[name]
    if previous is not None:
        sys.modules[name] = previous


def described(plugins: Any, operator: str, first: TensorDesc, second: TensorDesc, cfg: str) -> Any:
    return plugins.trtp.registered[operator](first, second, cfg)


def launched(plugins: Any, operator: str, first: TensorDesc, second: TensorDesc, cfg: str) -> Any:
    """Entry, PTX, launch parameters, extra arguments."""
    return plugins.trtp.implemented[operator](first, second, cfg, (), 0)


def desc(dtype: DataType, *sizes: int | None) -> TensorDesc:
    return TensorDesc(tuple(Size(size) for size in sizes), dtype)


def test_every_operator_is_registered_with_one_attribute(plugins: Any) -> None:
    ids = [ROI_ALIGN, PYRAMID_ROI_ALIGN, WINDOW_ALIGN]
    assert list(plugins.trtp.registered) == list(plugins.trtp.implemented) == ids
    for function in plugins.trtp.registered.values():
        signature = inspect.signature(function)
        kinds = [parameter.annotation for parameter in signature.parameters.values()]
        assert kinds == [TensorDesc, TensorDesc, str], "objects, not their names"
        assert signature.return_annotation is TensorDesc
    for name, function in plugins.trtp.implemented.items():
        registered = inspect.signature(plugins.trtp.registered[name]).parameters
        signature = inspect.signature(function)
        assert list(signature.parameters) == [*registered, "outputs", "tactic"]
        text = typing.Union[str, bytes]  # noqa: UP007
        kinds = typing.get_args(signature.return_annotation)
        assert kinds == (text, text, KernelLaunchParams, SymExprs)


def test_roi_align_output(plugins: Any) -> None:
    features, rois = desc(DataType.HALF, 2, 256, 50, 84), desc(DataType.FLOAT, 2, 300, 4)
    output = described(plugins, ROI_ALIGN, features, rois, ROI_CFG)
    assert [number(size) for size in output.shape_expr] == [600, 256, 14, 14]
    assert output.dtype is DataType.HALF


def test_window_align_output(plugins: Any) -> None:
    pyramid, index = desc(DataType.HALF, 2, 5534, 128), desc(DataType.INT64, 2, 500)
    output = described(plugins, WINDOW_ALIGN, pyramid, index, WINDOW_CFG)
    assert [number(size) for size in output.shape_expr] == [1000, 10, 10, 128]


def test_shapes_are_described_before_they_are_known(plugins: Any) -> None:
    fake = desc(DataType.HALF, None, None, None, None), desc(DataType.FLOAT, None, None, None)
    assert described(plugins, ROI_ALIGN, *fake, ROI_CFG).dtype is DataType.HALF
    fake = desc(DataType.FLOAT, None, None, None), desc(DataType.INT64, None, None)
    assert described(plugins, WINDOW_ALIGN, *fake, WINDOW_CFG).dtype is DataType.FLOAT


@pytest.mark.parametrize(
    ("dtype", "name"), [(DataType.HALF, "roi_align_fp16"), (DataType.FLOAT, "roi_align_fp32")]
)
def test_roi_align_launch(plugins: Any, dtype: DataType, name: str) -> None:
    features, rois = desc(dtype, 2, 60, 50, 84), desc(DataType.FLOAT, 2, 300, 4)
    entry, ptx, launch, scalars = launched(plugins, ROI_ALIGN, features, rois, ROI_CFG)
    kernel = load_kernel(name, "8.9")
    assert (entry, ptx) == ("roi_align", kernel.ptx)
    assert launch.numbers() == (600, 8, 1, 64, 1, 1, kernel.shared_bytes)
    # after two input pointers, before the output's
    assert [number(value) for value in scalars] == [2, 300, 60, 50, 84, 14, 2, 1, 16]
    assert len(scalars) == len(kernel.arguments) - 3


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(DataType.HALF, "pyramid_roi_align_fp16"), (DataType.FLOAT, "pyramid_roi_align_fp32")],
)
def test_pyramid_roi_align_output_and_launch(plugins: Any, dtype: DataType, name: str) -> None:
    atlas, rois = desc(dtype, 2, 60, 31, 31), desc(DataType.FLOAT, 2, 300, 4)
    output = described(plugins, PYRAMID_ROI_ALIGN, atlas, rois, PYRAMID_CFG)
    assert [number(size) for size in output.shape_expr] == [600, 60, 7, 7]
    assert output.dtype is dtype
    entry, ptx, launch, scalars = launched(plugins, PYRAMID_ROI_ALIGN, atlas, rois, PYRAMID_CFG)
    kernel = load_kernel(name, "8.9")
    assert (entry, ptx) == ("pyramid_roi_align", kernel.ptx)
    assert launch.numbers() == (600, 8, 1, 64, 1, 1, kernel.shared_bytes)
    assert [number(value) for value in scalars][:8] == [2, 300, 60, 31, 31, 7, 0, 1]
    assert len(scalars) == len(kernel.arguments) - 3


@pytest.mark.parametrize(("dtype", "words"), [(DataType.HALF, 64), (DataType.FLOAT, 128)])
def test_window_align_launch(plugins: Any, dtype: DataType, words: int) -> None:
    pyramid, index = desc(dtype, 2, 5534, 128), desc(DataType.INT64, 2, 500)
    entry, ptx, launch, scalars = launched(plugins, WINDOW_ALIGN, pyramid, index, WINDOW_CFG)
    kernel = load_kernel("window_align", "8.9")
    assert (entry, ptx) == ("window_align", kernel.ptx)
    assert launch.numbers() == (1000, 4, 1, 128, 1, 1, 0)
    shapes = [50, 76, 34, 51] + [0] * 28
    assert [number(value) for value in scalars] == [2, 500, 5534, words, 10, *shapes]
    assert len(scalars) == len(kernel.arguments) - 3


def test_no_boxes_still_launch_one_block(plugins: Any) -> None:
    features, rois = desc(DataType.HALF, 1, 8, 5, 5), desc(DataType.FLOAT, 1, 0, 4)
    _, _, launch, _ = launched(plugins, ROI_ALIGN, features, rois, ROI_CFG)
    assert launch.numbers()[:3] == (1, 1, 1)


def test_what_the_kernels_cannot_compute_is_refused(plugins: Any) -> None:
    rois = desc(DataType.FLOAT, 1, 9, 4)
    with pytest.raises(BuildError, match="MaskrtRoiAlign: inputs bf16 and float32 found"):
        launched(plugins, ROI_ALIGN, desc(DataType.BF16, 1, 8, 5, 5), rois, ROI_CFG)
    features = desc(DataType.HALF, 1, 8, 5, 5)
    with pytest.raises(BuildError, match=r"float16 and float16 found; .*, and float32"):
        launched(plugins, ROI_ALIGN, features, desc(DataType.HALF, 1, 9, 4), ROI_CFG)
    with pytest.raises(BuildError, match="whole number"):
        described(plugins, ROI_ALIGN, features, rois, ROI_CFG.replace("0.0625", "0.07"))
    pyramid, index = desc(DataType.HALF, 1, 5534, 7), desc(DataType.INT64, 1, 9)
    with pytest.raises(BuildError, match="7 FP16 channels found"):
        described(plugins, WINDOW_ALIGN, pyramid, index, WINDOW_CFG)
    with pytest.raises(BuildError, match=r"float16 and int32 found; .*, and int64"):
        launched(plugins, WINDOW_ALIGN, pyramid, desc(DataType.INT32, 1, 9), WINDOW_CFG)


def test_without_a_gpu_no_kernel_can_be_chosen(
    plugins: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "device_info", lambda: None)
    monkeypatch.setattr(plugins, "missing_device", lambda: "the driver reports no GPU")
    features, rois = desc(DataType.HALF, 1, 8, 5, 5), desc(DataType.FLOAT, 1, 9, 4)
    with pytest.raises(BuildError, match=r"no NVIDIA GPU answers \(the driver reports no GPU\)"):
        launched(plugins, ROI_ALIGN, features, rois, ROI_CFG)


# Engines with the plugins, on a GPU.


def engine_output(
    operator: str, inputs: dict[str, np.ndarray], output: np.ndarray, **attributes: Any
) -> tuple[list[str], np.ndarray]:
    """The layer types TensorRT parsed one node to, and what its engine computes."""
    import tensorrt as trt
    from onnx import helper

    from maskrt.engines.flavours import flavour_of
    from maskrt.engines.plugins import tensorrt_aot  # noqa: F401
    from maskrt.export.operators.local_functions import add_functions

    node = helper.make_node(operator, list(inputs), ["Y"], "node", domain="maskrt", **attributes)
    arrays = {**inputs, "Y": output}
    values = {
        name: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in arrays.items()
    }
    graph = helper.make_graph([node], "one", [values[name] for name in inputs], [values["Y"]])
    opset = helper.make_opsetid("", 17)
    model = add_functions(helper.make_model(graph, opset_imports=[opset], ir_version=8))

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(flavour_of(trt, "tensorrt").network_flags)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(model.SerializeToString()), parser.get_error(0).desc()
    layers = [str(network.get_layer(i).type) for i in range(network.num_layers)]
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    stream = cuda.Stream()
    buffers = {name: cuda.DeviceBuffer(array.nbytes) for name, array in arrays.items()}
    for name, array in inputs.items():
        cuda.copy_to_device(buffers[name], np.ascontiguousarray(array), stream)
    for name, buffer in buffers.items():
        context.set_tensor_address(name, buffer.pointer)
    assert context.execute_async_v3(stream.handle)
    cuda.copy_to_host(output, buffers["Y"], stream)
    stream.synchronize()
    return layers, output


on_gpu = pytest.mark.skipif(
    cuda.missing_device() is not None, reason=f"no GPU here: {cuda.missing_device()}"
)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_engine_computes_roi_align(dtype: type) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, 24, 20, 31)).astype(dtype)
    low = rng.uniform(-60, 480, (2, 100, 2))
    rois = np.concatenate([low, low + rng.uniform(0, 200, (2, 100, 2))], 2).astype(np.float32)
    layers, found = engine_output(
        "MaskrtRoiAlign", {"X": x, "rois": rois}, np.zeros((200, 24, 14, 14), dtype),
        output_size=14, sampling_ratio=2, spatial_scale=1 / 16,
    )  # fmt: skip
    assert layers == ["LayerType.PLUGIN_V3"]
    want = reference.roi_align(x, rois, 14, 1 / 16, 2)
    rounding = 2.0**-11 if dtype == np.float16 else 0
    assert (np.abs(found - want) <= 1e-5 + rounding * np.abs(want)).all()


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_engine_pools_from_a_pyramid(dtype: type) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    rng = np.random.default_rng(0)
    atlas = rng.uniform(-1, 1, (2, 24, 31, 31)).astype(dtype)
    low = rng.uniform(-20, 100, (2, 100, 2))
    rois = np.concatenate([low, low + rng.uniform(0, 60, (2, 100, 2))], 2).astype(np.float32)
    layers, found = engine_output(
        "MaskrtPyramidRoiAlign", {"X": atlas, "rois": rois}, np.zeros((200, 24, 7, 7), dtype),
        output_size=7, sampling_ratio=0, aligned=1, spatial_shapes=[20, 31, 10, 16],
        strides=[4, 8], borders=[784.0],
    )  # fmt: skip
    assert layers == ["LayerType.PLUGIN_V3"]
    levels = ((20, 31), (10, 16))
    want = reference.pyramid_roi_align(atlas, rois, 7, levels, (4, 8), 0, (784.0,))
    rounding = 2.0**-11 if dtype == np.float16 else 0
    assert (np.abs(found - want) <= 1e-5 + rounding * np.abs(want)).all()


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_engine_copies_windows(dtype: type) -> None:
    pytest.importorskip("tensorrt", reason="tensorrt is not installed")
    rng = np.random.default_rng(0)
    pyramid = rng.normal(size=(2, 83, 128)).astype(dtype)
    index = rng.integers(0, 110, (2, 50))
    layers, found = engine_output(
        "MaskrtWindowAlign", {"X": pyramid, "index": index},
        np.zeros((100, 10, 10, 128), dtype), size=10, spatial_shapes=[7, 9, 4, 5],
    )  # fmt: skip
    assert layers == ["LayerType.PLUGIN_V3"]
    want = reference.window_align(pyramid, index, [(7, 9), (4, 5)])
    np.testing.assert_array_equal(found, want)
