"""What CUDA's "insufficient driver" means, which it says of a missing driver too.

Source: CUDA release notes, table "CUDA Toolkit and Minimum Required Driver Version".
"""

from __future__ import annotations

from typing import Any

INSUFFICIENT = 35  # cudaErrorInsufficientDriver
OLDEST = {12: 525, 13: 580}
"""By CUDA's major version: the first NVIDIA driver that runs it."""
ELSEWHERE = "Run it on a machine with an NVIDIA GPU and its driver"


def driver_trouble(rt: Any, version: str) -> tuple[str, str]:
    """Why the driver is not sufficient, and what to do about it, each without a full stop.

    Args:
        rt: the module `cuda.bindings.runtime`.
        version: of cuda-python, e.g. "13.4.4".
    """
    supported = int(rt.cudaDriverGetVersion()[1])  # e.g. 12080; 0 where there is none
    if not supported:
        return "no NVIDIA driver is installed", ELSEWHERE
    major = int(version.split(".", maxsplit=1)[0])
    newest = f"{supported // 1000}.{supported % 1000 // 10}"
    found = f"the NVIDIA driver runs CUDA {newest} at most, and cuda-python {version} needs {major}"
    driver = f"Install NVIDIA driver {OLDEST.get(major, 'of today')} or later"
    older = f"pip install 'cuda-python<{major}' for the one that is here"
    return found, f"{driver}, or run: {older}" if major > min(OLDEST) else driver
