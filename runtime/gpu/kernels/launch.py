"""Start a shipped kernel on this GPU through cuda-python's driver API.

TensorRT starts the operators' kernels itself; this is for pictures and masks, for
`maskrt bench --operators` and for tests. A context must be current, as it is in a thread that has
called the CUDA runtime.
Source: CUDA Driver API 12.8 to 13.x, module and execution control.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import SessionError, pip_line
from .shipped import Kernel, load_kernel


@dataclass(frozen=True)
class Launch:
    """How a kernel is started: sizes as ints, or symbolic expressions of TensorRT's."""

    grid: tuple[Any, Any, Any]
    scalars: tuple[Any, ...]
    """The int32 arguments, between input and output pointers."""


@dataclass(frozen=True)
class LoadedKernel:
    """A kernel that a GPU's driver has taken."""

    kernel: Kernel
    function: Any
    """`CUfunction`."""

    def launch(
        self,
        grid: Sequence[int],
        inputs: Sequence[int],
        scalars: Sequence[int],
        output: int,
        stream: int,
    ) -> None:
        """Queue the kernel on `stream`; pointers and the stream are addresses.

        Raises:
            SessionError: the driver refuses the launch.
        """
        values = (*inputs, *scalars, output)
        assert len(values) == len(self.kernel.arguments), self.kernel.arguments
        pointer = ctypes.c_void_p
        types = (*(pointer for _ in inputs), *(ctypes.c_int32 for _ in scalars), pointer)
        block = (self.kernel.threads, 1, 1)
        shared = self.kernel.shared_bytes
        cuda = _driver()
        _check(
            cuda.cuLaunchKernel(self.function, *grid, *block, shared, stream, (values, types), 0)
        )


def kernel_here(name: str) -> LoadedKernel:
    """The shipped kernel `name` on the current GPU, handed to the driver once per process.

    Raises:
        BuildError: as `load_kernel`.
        SessionError: cuda-python is missing, no context is current, or the driver refuses the PTX.
    """
    return _load(name, int(_check(_driver().cuCtxGetDevice())))


@functools.cache
def _load(name: str, device: int) -> LoadedKernel:
    cuda = _driver()
    kind = cuda.CUdevice_attribute
    wanted = (
        kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        kind.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    )
    major, minor = (_check(cuda.cuDeviceGetAttribute(one, device)) for one in wanted)
    kernel = load_kernel(name, f"{major}.{minor}")
    module = _check(cuda.cuModuleLoadData(kernel.ptx.encode() + b"\0"))
    return LoadedKernel(kernel, _check(cuda.cuModuleGetFunction(module, kernel.entry.encode())))


def _driver() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as err:
        raise SessionError(
            f"CUDA: the cuda-python package is not usable ({err}); expected it to start the "
            f"kernels. {pip_line('gpu')}"
        ) from err
    return driver


def _check(result: tuple[Any, ...]) -> Any:
    """The value of a driver call `(error, value)`."""
    error, *values = result
    if int(error) != 0:
        text = _driver().cuGetErrorString(error)[1].decode()
        raise SessionError(
            f"CUDA: {error.name}: {text}; expected that a kernel of maskrt starts. "
            "Update the NVIDIA driver, or do without: build with '--operators portable' and "
            "prepare pictures on the CPU."
        )
    return values[0] if values else None
