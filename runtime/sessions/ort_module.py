"""ONNX Runtime behind one import, and which of its providers start on this machine.

A build for GPUs offers its providers everywhere. Whether one starts shows in a session alone:
where its libraries or a GPU are missing, ONNX Runtime takes the CPU without an error. So each is
tried once, on a model of one node, before a model is opened or timed by it.

CUDA's, cuDNN's and TensorRT's libraries of pip packages lie in folders of their own, where a loader
does not look: they are loaded first, by the packages that know them.
Source: ONNX Runtime 1.22 to 1.31, `preload_dlls` and `InferenceSession` of its Python package.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import logging
from pathlib import Path
from typing import Any

from ..errors import SessionError, first_line, pip_line
from ..gpu.cuda import missing_device
from .ort_providers import CPU, CUDA, TENSORRT, TENSORRT_RTX
from .trt.tensorrt_module import import_tensorrt

log = logging.getLogger(__name__)

# x -> Identity -> y, one float each (IR 8, opset 13): runtime has no package that writes ONNX files
ONE_NODE = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01'
    b"\x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
LIBRARIES = {
    CUDA: "libonnxruntime_providers_cuda.so",
    TENSORRT: "libonnxruntime_providers_tensorrt.so",
    TENSORRT_RTX: "libonnxruntime_providers_nv_tensorrt_rtx.so",
}
"""On Linux; elsewhere a provider that does not start gives less of a reason."""


def import_onnxruntime() -> Any:
    """The module `onnxruntime`.

    Raises:
        SessionError: it is not installed, or does not load.
    """
    try:
        import onnxruntime
    except ImportError as err:
        raise SessionError(
            "ONNX Runtime: not installed; .onnx files need it. "
            f'{pip_line("cpu")}, or ".[onnxruntime-gpu]" for CUDA.'
        ) from err
    return onnxruntime


@functools.cache
def provider_trouble(provider: str, device_index: int = 0) -> str | None:
    """Why a provider cannot run here, as a clause; None when it can. Tried once per process.

    Args:
        provider: ONNX Runtime's name.
        device_index: of the GPU.

    Raises:
        SessionError: ONNX Runtime is not installed.
    """
    if provider == CPU:
        return None
    runtime = import_onnxruntime()
    offered = runtime.get_available_providers()
    if provider not in offered:
        return f"it is not in this build, which offers {', '.join(offered)}"
    _load_libraries(runtime, provider)
    chain = [(provider, {"device_id": str(device_index)})]
    try:
        session = runtime.InferenceSession(ONE_NODE, providers=chain, enable_fallback=0)
    except Exception as err:  # its errors share no base class
        return _loader_words(runtime, provider) or first_line(err)
    if session.get_providers()[0] == provider:
        return None
    return _loader_words(runtime, provider) or missing_device() or "ONNX Runtime gave no reason"


def provider_advice(trouble: str) -> str:
    """What to do about what `provider_trouble` said; it ends with a pip line or a request."""
    if "libnvinfer" in trouble or "libnvonnxparser" in trouble:
        return (
            "An ONNX Runtime runs with the one major version of TensorRT that it was built for. "
            f"{pip_line('onnxruntime-tensorrt')}, which fit each other"
        )
    if "libcuda." in trouble:
        return "Install the NVIDIA driver, whose library that is, or ask for the CPU"
    if "shared object" in trouble or "not in this build" in trouble:
        return f"{pip_line('onnxruntime-gpu')}, which brings CUDA's and cuDNN's libraries"
    return "Check the NVIDIA driver ('maskrt doctor'), or ask for the CPU"


def _load_libraries(runtime: Any, provider: str) -> None:
    told = io.StringIO()  # it prints what it does not find; a provider that misses it will say so
    if hasattr(runtime, "preload_dlls"):  # from 1.21 on
        with contextlib.redirect_stdout(told):
            runtime.preload_dlls()
    if provider == TENSORRT:
        with contextlib.suppress(SessionError):
            import_tensorrt("tensorrt")
    log.debug("%s", told.getvalue())


def _loader_words(runtime: Any, provider: str) -> str | None:
    """What the loader says of a provider's library, e.g. "libcublasLt.so.13: cannot open ...".

    Only after a session has tried: the library must not be loaded before ONNX Runtime is ready.
    """
    library = Path(runtime.__file__).parent / "capi" / LIBRARIES.get(provider, "none")
    if not library.is_file():
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as err:
        return first_line(err)
    return None
