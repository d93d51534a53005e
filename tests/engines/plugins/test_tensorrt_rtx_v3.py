"""The plugins of TensorRT-RTX: real builds in processes of their own, and their parts here.

Not run anywhere without a GPU: `enqueue` inside an engine. Its arguments are checked with a
stand-in for the driver.
"""

from __future__ import annotations

import ctypes
import json
import platform
import signal
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from maskrt.runtime.errors import BuildError, SessionError
from maskrt.runtime.gpu.kernels.launch import LoadedKernel, kernel_here
from maskrt.runtime.gpu.kernels.shipped import load_kernel

trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')

from maskrt.engines.plugins.tensorrt_rtx_v3 import (  # noqa: E402
    ELF_MACHINES,
    Creator,
    Plugin,
    empty_library,
    give_second_name,
)

ROI_CFG = "oh=7;ow=7;sr=2;step=1;scale=0.0625;aligned=1"
WINDOW_CFG = "size=10;shapes=7x9,4x5"

MODELS = """
import json, sys
import tensorrt_rtx as trt
from onnx import TensorProto, helper
from maskrt.engines.plugins import tensorrt_rtx_v3
from maskrt.export.operators.local_functions import add_functions

HALF, FLOAT, INT64 = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.INT64
CFGS = ("oh=7;ow=7;sr=2;step=1;scale=0.0625;aligned=1", "size=10;shapes=7x9,4x5")

def model(operator, first, second, output, **attributes):
    node = helper.make_node(operator, ["a", "b"], ["y"], "node", domain="maskrt", **attributes)
    relu = helper.make_node("Relu", ["x"], ["a"], "relu")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [relu, node], "g", [value("x", *first), value("b", *second)], [value("y", *output)])
    opset = helper.make_opsetid("", 17)
    return add_functions(helper.make_model(graph, opset_imports=[opset], ir_version=8))

def roi_align(kind=HALF, scale=0.0625):
    return model("MaskrtRoiAlign", (kind, (2, 8, 20, 31)), (FLOAT, (2, 50, 4)),
                 (kind, (100, 8, 7, 7)), output_size=7, spatial_scale=scale, sampling_ratio=2)

def window_align(kind=HALF, channels=8):
    return model("MaskrtWindowAlign", (kind, (2, 83, channels)), (INT64, (2, 5)),
                 (kind, (10, 10, 10, channels)), size=10, spatial_shapes=[7, 9, 4, 5])

def build(model):
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network()
    parsed = trt.OnnxParser(network, logger).parse(model.SerializeToString())
    layers = [str(network.get_layer(i).type) for i in range(network.num_layers)]
    if not parsed:
        return {"parsed": False}
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    found = bytes(plan) if plan else b""
    output = network.get_output(0)
    return {
        "parsed": True,
        "layers": layers,
        "shape": tuple(output.shape),
        "dtype": str(output.dtype),
        "named": [n for n in ("MaskrtRoiAlign", "MaskrtWindowAlign") if n.encode() in found],
        "kept": [cfg for cfg in CFGS if cfg.encode() in found],
        "bytes": len(found),
    }
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MODELS + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def builds() -> dict[str, Any]:
    done = run_python("""
tensorrt_rtx_v3.register_plugins()
tensorrt_rtx_v3.register_plugins()
models = {
    "roi fp16": roi_align(), "roi fp32": roi_align(FLOAT),
    "window fp16": window_align(), "window fp32": window_align(FLOAT),
    "window odd": window_align(HALF, 7), "roi scale": roi_align(HALF, 0.07),
}
print(json.dumps({name: build(model) for name, model in models.items()}))
""")
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}


@pytest.mark.parametrize(
    ("name", "operator", "cfg", "shape", "dtype"),
    [
        ("roi fp16", "MaskrtRoiAlign", ROI_CFG, [100, 8, 7, 7], "DataType.HALF"),
        ("roi fp32", "MaskrtRoiAlign", ROI_CFG, [100, 8, 7, 7], "DataType.FLOAT"),
        ("window fp16", "MaskrtWindowAlign", WINDOW_CFG, [10, 10, 10, 8], "DataType.HALF"),
        ("window fp32", "MaskrtWindowAlign", WINDOW_CFG, [10, 10, 10, 8], "DataType.FLOAT"),
    ],
)
def test_an_engine_with_the_plugin_is_built(
    name: str, operator: str, cfg: str, shape: list[int], dtype: str, builds: dict[str, Any]
) -> None:
    found = builds[name]
    assert found["layers"] == ["LayerType.ACTIVATION", "LayerType.PLUGIN_V3"]
    assert (found["shape"], found["dtype"]) == (shape, dtype)
    assert found["named"] == [operator]  # the engine asks for the plugin by its name
    assert found["kept"] == [cfg]


def test_what_the_kernels_cannot_compute_is_refused(builds: dict[str, Any]) -> None:
    assert builds["window odd"]["bytes"] == 0
    assert "BuildError: MaskrtWindowAlign: 7 FP16 channels found" in builds["stderr"]
    assert not builds["roi scale"]["parsed"]
    assert "expected a scale of one divided by a whole number" in builds["stderr"]


def test_without_the_plugin_the_function_is_used() -> None:
    done = run_python("print(json.dumps(build(roi_align())))")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["layers"]) > 20
    assert "LayerType.PLUGIN_V3" not in found["layers"]


def test_without_the_second_name_the_parser_ends_the_process() -> None:
    # When this fails the trap is gone, and `give_second_name` with it.
    done = run_python("""
tensorrt_rtx_v3.give_second_name = lambda: None
tensorrt_rtx_v3.register_plugins()
build(roi_align())
print("still here")
""")
    assert done.returncode == -signal.SIGABRT
    assert "still here" not in done.stdout


# The library of nothing but two names.


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ELF_MACHINES, reason="an ELF library"
)
def test_a_library_answers_to_another_name() -> None:
    done = run_python("""
import ctypes
try:
    ctypes.CDLL("libtensorrt_rtx.so")
except OSError:
    tensorrt_rtx_v3.give_second_name()
    library = ctypes.CDLL("libtensorrt_rtx.so")
    print(library.getInferLibVersion())
""")
    assert done.returncode == 0, done.stderr[-3000:]
    major, minor, patch = (int(part) for part in trt.__version__.split(".")[:3])
    assert int(done.stdout) == major * 10000 + minor * 100 + patch  # found in what it needs


def test_the_library_is_small_and_its_header_is_elfs() -> None:
    data = empty_library("libb.so", "liba.so.1", ELF_MACHINES["aarch64"])
    assert data[:6] == b"\x7fELF\2\1"
    assert int.from_bytes(data[18:20], "little") == 183
    assert b"\0libb.so\0liba.so.1\0" in data
    assert len(data) < 1024


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(BuildError, match="riscv64 found; plugins can be built on Linux"):
        give_second_name.__wrapped__()


# The parts of a plugin.


def described(kind: Any, layout: Any, dims: tuple[int, ...] = ()) -> Any:
    return SimpleNamespace(desc=SimpleNamespace(type=kind, format=layout, dims=dims))


LINEAR, HWC8 = trt.TensorFormat.LINEAR, trt.TensorFormat.HWC8
HALF, FLOAT, INT32, INT64 = (
    trt.DataType.HALF, trt.DataType.FLOAT, trt.DataType.INT32, trt.DataType.INT64,
)  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "cfg", "kinds", "layouts", "fits"),
    [
        ("MaskrtRoiAlign", ROI_CFG, (HALF, FLOAT, HALF), (LINEAR,) * 3, [True] * 3),
        ("MaskrtRoiAlign", ROI_CFG, (FLOAT, FLOAT, FLOAT), (LINEAR,) * 3, [True] * 3),
        ("MaskrtRoiAlign", ROI_CFG, (HALF, HALF, FLOAT), (LINEAR,) * 3, [True, False, False]),
        ("MaskrtRoiAlign", ROI_CFG, (HALF, FLOAT, HALF), (HWC8,) * 3, [False] * 3),
        ("MaskrtRoiAlign", ROI_CFG, (INT32, FLOAT, INT32), (LINEAR,) * 3, [False, True, False]),
        ("MaskrtWindowAlign", WINDOW_CFG, (HALF, INT64, HALF), (LINEAR,) * 3, [True] * 3),
        ("MaskrtWindowAlign", WINDOW_CFG, (HALF, INT32, HALF), (LINEAR,) * 3, [True, False, True]),
    ],
)
def test_formats_are_row_major_and_types_as_the_kernels_take_them(
    operator: str, cfg: str, kinds: tuple[Any, ...], layouts: tuple[Any, ...], fits: list[bool]
) -> None:
    tensors = [described(*pair) for pair in zip(kinds, layouts, strict=True)]
    plugin = Plugin(operator, cfg)
    assert [plugin.supports_format_combination(i, tensors, 2) for i in range(3)] == fits


@pytest.mark.parametrize(
    ("operator", "cfg"), [("MaskrtRoiAlign", ROI_CFG), ("MaskrtWindowAlign", WINDOW_CFG)]
)
def test_an_engine_keeps_what_makes_the_plugin_again(operator: str, cfg: str) -> None:
    plugin = Plugin(operator, cfg).clone()
    fields = plugin.get_fields_to_serialize()  # they point into the plugin
    again = Creator(operator).create_plugin("node", fields, trt.TensorRTPhase.RUNTIME)
    assert (again.plugin_name, again.plugin_namespace, again.plugin_version) == (
        operator, "maskrt", "1",
    )  # fmt: skip
    assert fields[0].data.tobytes() == again.get_fields_to_serialize()[0].data.tobytes()
    assert fields[0].data.tobytes() == cfg.encode()
    assert [f.name for f in Creator(operator).field_names] == ["cfg"]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for `cuda.bindings.driver` that keeps its calls; its GPU is an 8.9."""
    module: Any = ModuleType("cuda.bindings.driver")
    module.calls = []

    def answer(name: str, *values: Any) -> Any:
        def call(*arguments: Any) -> Any:
            module.calls.append((name, arguments))
            return (0, *values)

        return call

    module.cuCtxGetDevice = answer("cuCtxGetDevice", 0)
    module.cuModuleLoadData = answer("cuModuleLoadData", "module")
    module.cuModuleGetFunction = answer("cuModuleGetFunction", "function")
    module.cuLaunchKernel = answer("cuLaunchKernel")
    kinds = ("MAJOR", "MINOR")
    prefix = "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_"
    module.CUdevice_attribute = SimpleNamespace(**{prefix + kind: kind for kind in kinds})
    module.cuDeviceGetAttribute = lambda kind, _: (0, {"MAJOR": 8, "MINOR": 9}[kind])
    bindings = ModuleType("cuda.bindings")
    bindings.driver = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", module)
    from maskrt.runtime.gpu.kernels import launch

    launch._load.cache_clear()
    yield module
    launch._load.cache_clear()


def test_running_starts_the_kernel_with_its_arguments_in_order(driver: Any) -> None:
    plugin = Plugin("MaskrtRoiAlign", ROI_CFG).attach_to_context(None)
    inputs = [described(HALF, LINEAR, (2, 60, 50, 84)).desc]
    inputs.append(described(FLOAT, LINEAR, (2, 300, 4)).desc)
    plugin.on_shape_change(inputs, [])
    for _ in range(2):
        plugin.enqueue(inputs, [], [111, 222], [333], 0, 444)
    kernel = load_kernel("roi_align_fp16", "8.9")
    by_name = [name for name, _ in driver.calls]
    assert by_name.count("cuModuleLoadData") == 1, "the driver takes the PTX once"
    assert ("cuModuleLoadData", (kernel.ptx.encode() + b"\0",)) in driver.calls
    assert ("cuModuleGetFunction", ("module", b"roi_align")) in driver.calls
    function, *sizes, stream, (values, types), extra = driver.calls[-1][1]
    assert (function, stream, extra) == ("function", 444, 0)
    assert sizes == [600, 8, 1, kernel.threads, 1, 1, kernel.shared_bytes]
    assert values == (111, 222, 2, 300, 60, 50, 84, 7, 2, 1, 16, 333)
    assert types == (ctypes.c_void_p,) * 2 + (ctypes.c_int32,) * 9 + (ctypes.c_void_p,)


def test_windows_in_half_are_moved_as_words(driver: Any) -> None:
    plugin = Plugin("MaskrtWindowAlign", WINDOW_CFG)
    inputs = [described(HALF, LINEAR, (2, 83, 8)).desc, described(INT64, LINEAR, (2, 5)).desc]
    plugin.on_shape_change(inputs, [])
    plugin.enqueue(inputs, [], [1, 2], [3], 0, 4)
    _, *sizes, _, (values, _), _ = driver.calls[-1][1]
    assert sizes[:3] == [10, 4, 1]
    assert values[:11] == (1, 2, 2, 5, 83, 4, 10, 7, 9, 4, 5)
    assert values[-1] == 3


def test_a_driver_that_refuses_is_quoted(driver: Any) -> None:
    class Refusal(int):
        name = "CUDA_ERROR_INVALID_PTX"

    driver.cuModuleLoadData = lambda _: (Refusal(218), None)
    driver.cuGetErrorString = lambda _: (0, b"a PTX JIT compilation failed")
    with pytest.raises(SessionError, match=r"CUDA_ERROR_INVALID_PTX: a PTX JIT .* Update the"):
        kernel_here("window_align")


def test_a_launch_wants_every_argument() -> None:
    loaded = LoadedKernel(load_kernel("roi_align_fp16", "8.9"), "function")
    with pytest.raises(AssertionError, match="sampling_ratio"):
        loaded.launch((1, 1, 1), (1, 2), (3,), 4, 5)


def test_missing_cuda_python_gets_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(SessionError, match=r'pip install "\.\[gpu\]"'):
        kernel_here("window_align")
