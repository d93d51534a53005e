"""What this machine can run, and what to run for what it cannot.

Each finding is one line of `maskrt doctor`. Packages are asked for their version without importing
them (torch takes seconds); runtimes are imported: only that proves that their libraries load.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass

from ..runtime.errors import BuildError, SessionError, pip_line
from ..runtime.gpu.cuda import device_advice, device_info, missing_device
from ..runtime.packages import NEWER_ONLY, python_trains
from ..runtime.sessions.integers.processor import cuts_sums
from ..runtime.sessions.openvino_session import openvino_core
from ..runtime.sessions.ort_module import LIBRARIES, provider_advice, provider_trouble
from ..runtime.sessions.trt.tensorrt_module import import_lean
from .flavours import load_flavour

MIN_PYTHON = (3, 10)
# Distribution, what it is for, the extra of maskrt that brings it.
PACKAGES = (
    ("numpy", "everything", ""),
    ("onnx", "export, build", "engines"),
    ("rich", "progress bars", "engines"),
    ("torch", "train, export", "train"),
    ("onnxscript", "export", "export"),
    ("safetensors", "checkpoints", "train"),
    ("pycocotools", "eval, train", "cpu"),
    ("matplotlib", "report", "report"),
    ("Jinja2", "report", "report"),
)

# Distributions that write the same folder of site-packages, in the order of what to keep.
OPENCV = (
    *("opencv-contrib-python", "opencv-python"),
    *("opencv-contrib-python-headless", "opencv-python-headless"),
)
ONNXRUNTIME = ("onnxruntime-gpu", "onnxruntime")
SUFFIX = "ExecutionProvider"


@dataclass(frozen=True)
class Finding:
    """One thing looked for on this machine."""

    name: str
    ok: bool
    found: str
    """Version or description; why not, when not `ok`."""
    purpose: str
    fix: str = ""
    """What to run when not `ok`."""


def diagnose() -> list[Finding]:
    """Look at everything maskrt can use here; never raises."""
    return [
        _python(),
        *(_package(*row) for row in PACKAGES),
        _opencv(),
        _onnxruntime(),
        *_gpu_providers(),
        _cpu_session(),
        _tensorrt("tensorrt-rtx", "build anywhere, run on RTX GPUs"),
        _tensorrt("tensorrt", "build and run on NVIDIA GPUs"),
        _tensorrt_lean(),
        _gpu(),
    ]


def _python() -> Finding:
    ok = sys.version_info[:2] >= MIN_PYTHON
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    found += f", {os.cpu_count()} CPU cores"
    purpose = "everything" if python_trains() else "all but training and export"
    remedy = "" if ok else "Install Python 3.10 or newer, 3.11 to train and export"
    return Finding("python", ok, found, purpose, remedy)


def _package(name: str, purpose: str, extra: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name), purpose)
    except importlib.metadata.PackageNotFoundError:
        newer = name in NEWER_ONLY and not python_trains()
        remedy = "Use a newer Python for this" if newer else pip_line(extra)
        return Finding(name, False, "not installed", purpose, remedy)


def _opencv() -> Finding:
    """Whichever of its builds is here."""
    found, purpose = _installed(OPENCV), "pictures"
    if not found:
        return Finding("OpenCV", False, "not installed", purpose, pip_line(""))
    return Finding("OpenCV", len(found) == 1, " and ".join(found), purpose, _keep_one(OPENCV))


def _installed(distributions: tuple[str, ...]) -> list[str]:
    """Name and version of those that are here."""
    found = []
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return found


def _keep_one(distributions: tuple[str, ...]) -> str:
    """How to be left with the first of several, which have overwritten each other's files."""
    names = [name.split()[0] for name in _installed(distributions)]
    if len(names) < 2:
        return ""
    others = " ".join(names[1:])
    return f"pip uninstall -y {others} && pip install --force-reinstall --no-deps {names[0]}"


def _onnxruntime() -> Finding:
    purpose = "run .onnx files"
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as err:
        return Finding("onnxruntime", False, str(err), purpose, pip_line("cpu"))
    if fix := _keep_one(ONNXRUNTIME):
        return Finding("onnxruntime", False, " and ".join(_installed(ONNXRUNTIME)), purpose, fix)
    offered = module.get_available_providers()
    starting = [name for name in offered if name not in LIBRARIES or not provider_trouble(name)]
    names = ", ".join(name.removesuffix(SUFFIX) for name in starting)
    return Finding("onnxruntime", True, f"{module.__version__} ({names})", purpose)


def _gpu_providers() -> list[Finding]:
    """Those of this build of ONNX Runtime: that it offers one says nothing about this machine."""
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError:
        return []
    return [_gpu_provider(name) for name in module.get_available_providers() if name in LIBRARIES]


def _gpu_provider(name: str) -> Finding:
    purpose, trouble = "run .onnx files on NVIDIA GPUs", provider_trouble(name)
    short = f"onnxruntime {name.removesuffix(SUFFIX)}"
    if trouble is None:
        return Finding(short, True, "starts", purpose)
    return Finding(short, False, f"cannot start: {trouble}", purpose, provider_advice(trouble))


def _cpu_session() -> Finding:
    """Which session to open a file in where no GPU runs it."""
    name, purpose = "CPU session", "serve without a GPU; maskrt bench measures what it gains here"
    try:
        openvino = importlib.import_module("openvino")
        half = "BF16" in openvino_core(openvino).get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ImportError:
        found = "X.onnx (ONNX Runtime); openvino, which knows BF16, is not installed"
        return Finding(name, False, found, purpose, pip_line("openvino"))
    int8 = "or an INT8 file as X.onnx@openvino" + ("" if cuts_sums() else " or @onnxruntime-int8")
    found = (
        "an FP16 file as X.onnx@openvino, in BF16, which this CPU multiplies, "
        f"{int8}; check its accuracy with maskrt eval --against"
        if half
        else f"X.onnx (ONNX Runtime, FP32), {int8}: this CPU has no BF16 products"
    )
    return Finding(name, True, found, purpose)


def _tensorrt(name: str, purpose: str) -> Finding:
    try:
        flavour = load_flavour(name)
    except BuildError as err:
        extra = "engines" if name == "tensorrt-rtx" else "gpu"
        found = str(err).split(". ")[0].removeprefix(f"{name}: ")
        return Finding(name, False, found, purpose, pip_line(extra))
    typing = "strongly typed" if flavour.strongly_typed else "FP16 by layer precisions"
    return Finding(name, True, f"{flavour.version_text}, {typing}", purpose)


def _tensorrt_lean() -> Finding:
    name, purpose = "tensorrt-lean", "run engines built with --version-compatible, where small"
    try:
        return Finding(name, True, str(import_lean().__version__), purpose)
    except SessionError as err:
        found = str(err).split(". ")[0].removeprefix(f"{name}: ")
        return Finding(name, False, found, purpose, pip_line("lean"))


def _gpu() -> Finding:
    purpose = "run engines"
    info = device_info()
    if info is None:
        return Finding("NVIDIA GPU", False, missing_device() or "no GPU", purpose, device_advice())
    found = f"{info.name}, compute capability {info.compute_capability}, "
    found += f"{info.memory_bytes / 2**30:.0f} GiB, driver up to CUDA {info.driver_cuda}"
    return Finding("NVIDIA GPU", True, found, purpose)
