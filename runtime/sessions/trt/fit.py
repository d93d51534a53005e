"""Whether an engine runs on this machine's TensorRT and GPU, by what its sidecar says of the build.

| Built                               | TensorRT                              | Compute capability |
|-------------------------------------|---------------------------------------|--------------------|
| as it is                            | the version that built it             | the same           |
| `--version-compatible`              | that or a later one, lean ones too    | as without         |
| `--hardware-compatible ampere-plus` | as without                            | 8.0 and later      |
| by TensorRT-RTX                     | the version that built it             | any RTX GPU: it    |
|                                     |                                       | compiles on opening|

`--hardware-compatible same-capability` changes what the engine asks of other models of GPU, not the
capability it is for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import SessionError, pip_line
from ...gpu.cuda import DeviceInfo
from ...sidecar import Sidecar
from .tensorrt_module import is_lean

AMPERE = (8, 0)
NO_RTX = ("9.0", "10.0", "10.3")
"""Data-centre GPUs (H100, H200, B200, B300): TensorRT-RTX 1.7 has no code for them."""


def require_version(path: Path, sidecar: Sidecar, trt: Any) -> None:
    """Check that the installed TensorRT can open the engine.

    Raises:
        SessionError: it is another version, an older one, or the lean runtime for an engine that
            is not version-compatible.
    """
    built, found = sidecar.fingerprint, str(trt.__version__)
    again = f"Build it again: {sidecar.rebuild_command(path)}"
    if is_lean(trt) and not built.version_compatible:
        raise SessionError(
            f"{path}: only TensorRT's lean runtime is installed here, and the engine was built "
            f"without '--version-compatible', which that needs. {pip_line('gpu')}, or build it "
            f"again with the option: {sidecar.rebuild_command(path)}"
        )
    if built.version_compatible:
        if _numbers(found) < _numbers(built.tensorrt_version):
            raise SessionError(
                f"{path}: built by {built.runtime} {built.tensorrt_version}, but {found} is "
                f"installed; expected that version or a later one. Install it, or build the "
                f"engine here: {sidecar.rebuild_command(path)}"
            )
    elif _numbers(found)[:3] != _numbers(built.tensorrt_version)[:3]:
        raise SessionError(
            f"{path}: built by {built.runtime} {built.tensorrt_version}, but {found} is "
            f"installed; an engine runs on the version that built it. {again}"
        )


def require_gpu(path: Path, sidecar: Sidecar, gpu: DeviceInfo) -> None:
    """Check that the engine was built for a GPU like this one.

    Raises:
        SessionError: it was not.
    """
    built = sidecar.fingerprint
    again = f"Build it again here: {sidecar.rebuild_command(path)}"
    if built.runtime == "tensorrt-rtx":
        if gpu.compute_capability in NO_RTX:
            raise SessionError(
                f"{path}: built by TensorRT-RTX, which does not run on {gpu.name} (compute "
                f"capability {gpu.compute_capability}); expected an RTX GPU. Build it with "
                "'--runtime tensorrt' here, or use the .onnx file."
            )
        return
    if built.hardware_compatible == "ampere-plus":
        if _numbers(gpu.compute_capability) < AMPERE:
            raise SessionError(
                f"{path}: built for compute capability 8.0 and later, but this GPU is {gpu.name} "
                f"({gpu.compute_capability}). {again}"
            )
    elif built.compute_capability not in (None, gpu.compute_capability):
        raise SessionError(
            f"{path}: built for {built.gpu_name} (compute capability {built.compute_capability}), "
            f"but this GPU is {gpu.name} ({gpu.compute_capability}). {again}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Of "10.14.1.48.post1" (10, 14, 1, 48)."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
