"""A shipped kernel handed to the driver and started, over a stand-in for the driver's calls."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from maskrt.runtime.errors import SessionError
from maskrt.runtime.gpu.kernels.launch import LoadedKernel, kernel_here
from maskrt.runtime.gpu.kernels.shipped import load_kernel


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
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


def test_a_kernel_is_started_with_its_arguments_in_order(driver: Any) -> None:
    scalars = (2, 300, 60, 50, 84, 7, 2, 1, 16)
    for _ in range(2):
        kernel_here("roi_align_fp16").launch((600, 8, 1), [111, 222], scalars, 333, 444)
    kernel = load_kernel("roi_align_fp16", "8.9")
    by_name = [name for name, _ in driver.calls]
    assert by_name.count("cuModuleLoadData") == 1, "the driver takes the PTX once"
    assert ("cuModuleLoadData", (kernel.ptx.encode() + b"\0",)) in driver.calls
    assert ("cuModuleGetFunction", ("module", b"roi_align")) in driver.calls
    function, *sizes, stream, (values, types), extra = driver.calls[-1][1]
    assert (function, stream, extra) == ("function", 444, 0)
    assert sizes == [600, 8, 1, kernel.threads, 1, 1, kernel.shared_bytes]
    assert values == (111, 222, *scalars, 333)
    assert types == (ctypes.c_void_p,) * 2 + (ctypes.c_int32,) * 9 + (ctypes.c_void_p,)


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
