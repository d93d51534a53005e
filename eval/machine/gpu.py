"""The NVIDIA driver's own view of a GPU through its management library, with nothing to install.

`libnvidia-ml` comes with every driver, so ctypes on the few calls needed spares a dependency.
Only reads; where there is no driver every function answers with an empty value. Constants and
signatures: nvml.h.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_CLOCK_SM, _CLOCK_MEMORY, _TEMPERATURE_GPU = 1, 2, 0
_NAME_BYTES = 96
_THROTTLE_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}
"""Bits of nvmlClocksThrottleReasons that mean the GPU ran slower than it was asked to."""


def gpu_names() -> list[str]:
    """Names of the GPUs that the driver shows, empty without a driver."""
    library = _library()
    if library is None:
        return []
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    return [_text(library.nvmlDeviceGetName, _handle(index)) for index in range(count.value)]


def driver_version() -> str:
    """Version of the NVIDIA driver, "" without one."""
    library = _library()
    return "" if library is None else _text(library.nvmlSystemGetDriverVersion)


def gpu_state(index: int = 0) -> dict[str, Any]:
    """Clocks (MHz), temperature (degrees C), power (W), throttle reasons; {} without a GPU."""
    library = _library()
    if library is None or not gpu_names():
        return {}
    handle = _handle(index)
    reasons = ctypes.c_ulonglong()
    library.nvmlDeviceGetCurrentClocksThrottleReasons(handle, ctypes.byref(reasons))
    return {
        "sm_clock_mhz": _number(library.nvmlDeviceGetClockInfo, handle, _CLOCK_SM),
        "memory_clock_mhz": _number(library.nvmlDeviceGetClockInfo, handle, _CLOCK_MEMORY),
        "temperature_c": _number(library.nvmlDeviceGetTemperature, handle, _TEMPERATURE_GPU),
        "power_w": _number(library.nvmlDeviceGetPowerUsage, handle) / 1000,
        "throttled": [name for bit, name in _THROTTLE_REASONS.items() if reasons.value & bit],
    }


@cache
def _library() -> Any:
    for name in ("libnvidia-ml.so.1", "nvml.dll"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if library.nvmlInit_v2() == 0:
            return library
    return None


@cache
def _handle(index: int) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    _library().nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    return handle


def _text(call: Any, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(_NAME_BYTES)
    call(*arguments, buffer, ctypes.c_uint(_NAME_BYTES))
    return buffer.value.decode(errors="replace")


def _number(call: Any, *arguments: Any) -> int:
    value = ctypes.c_uint()
    call(*arguments, ctypes.byref(value))
    return value.value
