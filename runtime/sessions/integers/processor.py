"""Whether this processor sums products of uint8 and int8 exactly.

Without VNNI or AMX, x86 adds two such products in 16 bits, where 2 * 255 * 127 is cut at 32767: no
error, other numbers. ONNX Runtime's kernels take what there is.

Source: ONNX Runtime, "Quantize ONNX models", on U8S8 and AVX2; Intel SDM, VPMADDUBSW.
"""

from __future__ import annotations

import platform
from pathlib import Path

EXACT = {"avx512_vnni", "avx_vnni", "amx_int8"}
CPUINFO = Path("/proc/cpuinfo")


def cuts_sums(cpuinfo: Path = CPUINFO) -> bool:
    """Whether sums are known to be cut here; False where nothing says so (not x86, not Linux)."""
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.is_file():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(flags) and EXACT.isdisjoint(flags.split())
