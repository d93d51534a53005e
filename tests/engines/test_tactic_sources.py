from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from maskrt.engines.flavours import flavour_of
from maskrt.engines.tactic_sources import LIBRARIES, KernelLibrary, leave_out_absent

# As in the bindings of TensorRT 8.6.
SOURCES = SimpleNamespace(
    CUBLAS=0, CUBLAS_LT=1, CUDNN=2, EDGE_MASK_CONVOLUTIONS=3, JIT_CONVOLUTIONS=4
)
# libc stands for the libraries: `getpid` is there, cuBLAS's function is not (a stub's case).
REAL = KernelLibrary("CUBLAS", "cuBLAS", ("libnowhere.so.12", "libc.so.6"), "getpid")
STUB = KernelLibrary("CUBLAS_LT", "cuBLASLt", ("libc.so.6",), "cublasLtGetProperty")
ABSENT = KernelLibrary("CUDNN", "cuDNN", ("libnowhere.so.8",), "cudnnGetVersion")


class Config:
    """The tactic sources of a builder's configuration."""

    def __init__(self, sources: int) -> None:
        self.sources = sources
        self.calls = 0

    def get_tactic_sources(self) -> int:
        return self.sources

    def set_tactic_sources(self, sources: int) -> bool:
        self.sources, self.calls = sources, self.calls + 1
        return True


def flavour(version: str) -> Any:
    flags = SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
    trt = SimpleNamespace(
        __version__=version, NetworkDefinitionCreationFlag=flags, TacticSource=SOURCES
    )
    return flavour_of(trt, "tensorrt")


def test_tactics_of_absent_and_stub_libraries_are_left_out_and_named() -> None:
    config = Config(0b11111)
    (note,) = leave_out_absent(flavour("8.6.0"), config, (REAL, STUB, ABSENT))
    assert config.sources == 0b11001
    assert note.startswith("cuBLASLt, cuDNN cannot be loaded: tensorrt 8.6.0 chose among its own")


@pytest.mark.parametrize(
    ("version", "sources", "libraries"),
    [
        ("8.6.0", 0b11111, (REAL,)),
        ("8.6.0", 0b11000, (STUB, ABSENT)),
        ("10.3.0", 0b11111, (STUB, ABSENT)),
    ],
    ids=["all there", "not asked for", "TensorRT 10"],
)
def test_else_the_sources_stay_as_they_are(
    version: str, sources: int, libraries: tuple[KernelLibrary, ...]
) -> None:
    config = Config(sources)
    assert leave_out_absent(flavour(version), config, libraries) == ()
    assert (config.sources, config.calls) == (sources, 0)


def test_every_library_is_a_tactic_source_of_tensorrt_8() -> None:
    assert {x.source for x in LIBRARIES} == set(vars(SOURCES)) - {
        "EDGE_MASK_CONVOLUTIONS",
        "JIT_CONVOLUTIONS",
    }
