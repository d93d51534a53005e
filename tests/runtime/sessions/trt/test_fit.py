"""Which TensorRT and which GPU an engine runs on, and what it is told where it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maskrt.runtime.errors import SessionError
from maskrt.runtime.gpu.cuda import DeviceInfo
from maskrt.runtime.sessions.trt.fit import require_gpu, require_version
from maskrt.runtime.sidecar import Sidecar, read_sidecar

PATH = Path("x.engine")
MOVABLE = {"version_compatible": True}
AMPERE = {"hardware_compatible": "ampere-plus"}
SAME = {"hardware_compatible": "same-capability"}


@pytest.fixture
def built(write_engine: Any) -> Any:
    """The sidecar of an engine whose fingerprint takes changes by keyword."""

    def build(**changes: Any) -> Sidecar:
        return read_sidecar(write_engine(**changes))

    return build


def module(version: str, name: str = "tensorrt") -> Any:
    return SimpleNamespace(__version__=version, __name__=name)


@pytest.mark.parametrize(
    ("by", "options", "found"),
    [
        ("11.4.0.106", {}, "11.4.0.106"),
        ("10.14.1.48", {}, "10.14.1.48.post1"),
        ("8.6.1", MOVABLE, "8.6.1"),
        ("8.6.1", MOVABLE, "10.16.1.11"),
        ("10.9.0.34", MOVABLE, "10.16.0.72"),
    ],
)
def test_versions_that_open_it(by: str, options: Any, found: str, built: Any) -> None:
    require_version(PATH, built(tensorrt_version=by, options=options), module(found))


@pytest.mark.parametrize(
    ("by", "options", "found"),
    [
        ("10.9.0.34", {}, "10.16.0.72"),
        ("8.6.1", {"version_compatible": "yes"}, "10.16.0.72"),
        ("11.4.0.106", MOVABLE, "11.3.0.99"),
        ("10.16.1.11", MOVABLE, "10.9.0.34"),
    ],
)
def test_versions_that_do_not(by: str, options: Any, found: str, built: Any) -> None:
    with pytest.raises(SessionError, match=f"built by tensorrt {by}, but {found} is installed"):
        require_version(PATH, built(tensorrt_version=by, options=options), module(found))


def test_the_lean_runtime_opens_version_compatible_engines_alone(built: Any) -> None:
    lean = module("11.4.0.106", "tensorrt_lean")
    require_version(PATH, built(options=MOVABLE), lean)
    with pytest.raises(SessionError, match=r"lean runtime is installed .* '--version-compatible'"):
        require_version(PATH, built(), lean)


@pytest.mark.parametrize(
    ("by", "options", "here"),
    [
        ("8.9", {}, "8.9"),
        ("8.9", SAME, "8.9"),
        ("8.9", AMPERE, "8.0"),
        ("8.0", AMPERE, "12.0"),
        (None, {}, "7.5"),
    ],
)
def test_gpus_that_run_it(by: str | None, options: Any, here: str, built: Any) -> None:
    gpu = DeviceInfo("another model", here, "13.0", 1)
    require_gpu(PATH, built(compute_capability=by, options=options), gpu)


@pytest.mark.parametrize(
    ("by", "options", "here", "sentence"),
    [
        ("8.9", {}, "9.0", r"capability 8\.9\), but this GPU is another model \(9\.0\)"),
        ("8.0", SAME, "8.6", r"capability 8\.0\), but this GPU is another model \(8\.6\)"),
        ("8.6", AMPERE, "7.5", r"capability 8\.0 and later, but .* another model \(7\.5\)"),
    ],
)
def test_gpus_that_do_not(by: str, options: Any, here: str, sentence: str, built: Any) -> None:
    gpu = DeviceInfo("another model", here, "13.0", 1)
    with pytest.raises(SessionError, match=sentence):
        require_gpu(PATH, built(compute_capability=by, options=options), gpu)


def test_tensorrt_rtx_compiles_for_any_gpu_but_those_of_data_centres(built: Any) -> None:
    engine = built(runtime="tensorrt-rtx")
    require_gpu(PATH, engine, DeviceInfo("another model", "12.0", "13.0", 1))
    with pytest.raises(
        SessionError, match=r"does not run on NVIDIA H200 \(compute capability 9\.0"
    ):
        require_gpu(PATH, engine, DeviceInfo("NVIDIA H200", "9.0", "13.0", 1))
