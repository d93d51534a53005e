"""Which libraries besides its own TensorRT 8.6 may take kernels (tactics) from.

Its builder tries kernels of cuBLAS, cuBLASLt and cuDNN unless it is told not to, also where these
libraries are stubs (a JetPack image without them, a small container): the build then aborts the
process at the first call. TensorRT 10 leaves the three out by itself and 11 no longer knows them.

A library counts as there when it loads and exports the function by which TensorRT itself reads its
version; a stub that only satisfies the linker lacks it.
Source: strings and undefined symbols of libnvinfer and libnvinfer_plugin 8.6.0; its `TacticSource`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .flavours import Flavour


@dataclass(frozen=True)
class KernelLibrary:
    """A library of NVIDIA's that TensorRT 8.6 may take kernels from."""

    source: str
    """Its name in `trt.TacticSource`."""
    title: str
    file_names: tuple[str, ...]
    """Of the CUDA versions that TensorRT 8.6 was built for."""
    version_function: str
    """Exported by the real library and asked for by TensorRT; no GPU is needed to find it."""

    def is_there(self) -> bool:
        """Whether TensorRT could call it; what `import tensorrt` loaded is found by its name."""
        for name in self.file_names:
            try:
                library = ctypes.CDLL(name)
            except OSError:
                continue
            return hasattr(library, self.version_function)
        return False


LIBRARIES = (
    KernelLibrary("CUBLAS", "cuBLAS", ("libcublas.so.12", "libcublas.so.11"), "cublasGetProperty"),
    KernelLibrary(
        "CUBLAS_LT", "cuBLASLt", ("libcublasLt.so.12", "libcublasLt.so.11"), "cublasLtGetProperty"
    ),
    KernelLibrary("CUDNN", "cuDNN", ("libcudnn.so.8",), "cudnnGetVersion"),
)


def leave_out_absent(
    flavour: Flavour, config: Any, libraries: Sequence[KernelLibrary] = LIBRARIES
) -> tuple[str, ...]:
    """Take the tactics of libraries that are not there out of a builder's configuration.

    Args:
        flavour: what builds; only TensorRT 8.6, the one that is not strongly typed, is changed.
        config: its `IBuilderConfig`.
        libraries: those it may take kernels from.

    Returns:
        A note for the user where some were taken out, else nothing.
    """
    if flavour.strongly_typed:
        return ()
    sources = flavour.trt.TacticSource
    before = config.get_tactic_sources()
    used = [x for x in libraries if before >> int(getattr(sources, x.source)) & 1]
    absent = [x for x in used if not x.is_there()]
    if not absent:
        return ()
    bits = sum(1 << int(getattr(sources, x.source)) for x in absent)
    config.set_tactic_sources(before & ~bits)
    titles = ", ".join(x.title for x in absent)
    note = (
        f"{titles} cannot be loaded: {flavour} chose among its own kernels only, which may be "
        "slower; install them and build again to have theirs tried"
    )
    return (note,)
