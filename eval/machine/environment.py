"""The machine and the software a measurement was made with, so that a number can be traced.

Read, never changed: clocks are not locked, governors not set. Versions come from package
metadata, so nothing heavy is imported to ask for them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...runtime.files import sha256_of
from .gpu import driver_version, gpu_names

PACKAGES = (
    "maskrt",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "tensorrt",
    "tensorrt-rtx",
    "opencv-python-headless",
    "pycocotools",
)


def environment(artefacts: Iterable[Path] = ()) -> dict[str, Any]:
    """Everything about here and now that can move a latency or an AP, as plain JSON values.

    Args:
        artefacts: files whose SHA-256 is recorded, by file name.
    """
    gpus = gpu_names()
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": package_versions(),
        "gpus": gpus or "none",
        "driver": driver_version() or "none",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "artefacts": {path.name: sha256_of(path) for path in artefacts},
    }


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide a result; absent ones are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def has_gpu() -> bool:
    """Whether the NVIDIA driver shows a GPU here."""
    return bool(gpu_names())


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
