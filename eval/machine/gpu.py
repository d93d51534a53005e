"""The NVIDIA driver's own view of a GPU, through NVIDIA's nvidia-ml-py.

Only reads. Where that package or the driver is missing there is no GPU, and every function answers
with an empty value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any

from ...runtime.gpu.cuda import check, load_cuda, missing_device

_BUS_ID_BYTES = 32


def gpu_names() -> list[str]:
    """Names of the GPUs that the driver shows, empty without one."""
    nvml = _nvml()
    if nvml is None:
        return []
    try:
        handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
        return [nvml.nvmlDeviceGetName(handle) for handle in handles]
    except nvml.NVMLError:  # e.g. a GPU that fell off the bus
        return []


def driver_version() -> str:
    """Version of the NVIDIA driver, "" without one."""
    nvml = _nvml()
    try:
        return "" if nvml is None else str(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return ""


def gpu_state(device: int = 0) -> dict[str, Any]:
    """Clocks (MHz), temperature (degrees C), power (W) and throttle reasons of a GPU.

    Args:
        device: as CUDA counts them.

    Returns:
        What the driver tells, as plain JSON values: under WSL or on a MIG part some of it is
        missing. {} without a GPU.
    """
    nvml = _nvml()
    if nvml is None:
        return {}
    try:
        gpu = _handle(nvml, device)
    except nvml.NVMLError:
        return {}
    readings: dict[str, Callable[[], Any]] = {
        "sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
        "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
        "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
        "throttled": lambda: _throttled(nvml, gpu),
    }
    found = {}
    for name, read in readings.items():
        # what a driver does not support is left out: 0 MHz would be read as a measurement
        with contextlib.suppress(nvml.NVMLError):
            found[name] = read()
    return found


def _throttled(nvml: Any, gpu: Any) -> list[str]:
    """Why the GPU runs slower than it was asked to."""
    why = {
        nvml.nvmlClocksEventReasonSwPowerCap: "power cap",
        nvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
        nvml.nvmlClocksEventReasonSwThermalSlowdown: "software thermal",
        nvml.nvmlClocksEventReasonHwThermalSlowdown: "hardware thermal",
        nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
    }
    try:
        reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
    except nvml.NVMLError_FunctionNotFound:  # drivers before R535 have the old name alone
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)
    return [name for bit, name in why.items() if reasons & bit]


def _handle(nvml: Any, device: int) -> Any:
    """NVML's handle of a CUDA device.

    NVML counts along the bus, CUDA the fastest first and only what CUDA_VISIBLE_DEVICES leaves; the
    bus id is what both agree on, MIG parts having that of their GPU.
    """
    if missing_device() is not None:  # without CUDA's bindings NVML's order is all there is
        return nvml.nvmlDeviceGetHandleByIndex(device)
    bus_id = check(load_cuda().cudaDeviceGetPCIBusId(_BUS_ID_BYTES, device))
    return nvml.nvmlDeviceGetHandleByPciBusId(bus_id.partition(b"\0")[0].decode())


@cache
def _nvml() -> Any:
    """nvidia-ml-py's module with the library started; None where one of them is missing."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
