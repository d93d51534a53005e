"""What is refused before an engine runs; all but the last three need no stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskrt.runtime.contract import TensorSpec
from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.gpu import cuda
from maskrt.runtime.sessions.trt.session import TrtSession
from maskrt.runtime.sidecar import sidecar_path

COMMAND = "maskrt build x.onnx -o x.engine --runtime tensorrt-rtx"


def test_missing_engine_and_other_suffixes_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        TrtSession(tmp_path / "x.engine")
    with pytest.raises(InputError, match=r"expected \.engine"):
        TrtSession(tmp_path / "x.plan")


def test_engine_without_sidecar_is_refused(write_engine: Any) -> None:
    path = write_engine()
    sidecar_path(path).unlink()
    with pytest.raises(SessionError, match=r"x\.engine\.json: No such file.*maskrt build x\.onnx"):
        TrtSession(path)


def test_engine_beside_another_programs_json_is_refused(write_engine: Any) -> None:
    path = write_engine()
    sidecar_path(path).write_text('{"layers": []}')
    with pytest.raises(SessionError, match="not a sidecar this maskrt reads"):
        TrtSession(path)


def test_engine_whose_bytes_changed_is_refused_with_the_exact_command(write_engine: Any) -> None:
    path = write_engine()
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(SessionError, match=f"not the engine its sidecar describes.*{COMMAND}"):
        TrtSession(path)


def test_engine_of_another_version_is_refused_with_the_exact_command(write_engine: Any) -> None:
    pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    path = write_engine(runtime="tensorrt-rtx", tensorrt_version="1.4.0.76")
    with pytest.raises(SessionError, match=f"built by tensorrt-rtx 1.4.0.76, but .*{COMMAND}"):
        TrtSession(path)


def test_engine_of_an_unknown_runtime_is_refused(write_engine: Any) -> None:
    path = write_engine(runtime="tensorrt-9000")
    with pytest.raises(SessionError, match="runtime 'tensorrt-9000': unknown"):
        TrtSession(path)


@pytest.mark.skipif(cuda.missing_device() is None, reason="this machine has a GPU")
def test_machine_without_a_gpu_gets_one_sentence(write_engine: Any) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    path = write_engine(runtime="tensorrt-rtx", tensorrt_version=trt.__version__)
    with pytest.raises(SessionError, match=r"no NVIDIA GPU can be used here.*use the \.onnx file"):
        TrtSession(path)


def test_refused_engine_is_an_error_with_the_exact_command(
    write_engine: Any, host_cuda: Any, use_engine: Any
) -> None:
    use_engine(None)
    with pytest.raises(SessionError, match=rf"refused the engine \(its last error\).*{COMMAND}"):
        TrtSession(write_engine())


def test_engine_for_another_gpu_is_refused(write_engine: Any, engine: Any) -> None:
    path = write_engine(gpu_name="NVIDIA H200", compute_capability="9.0")
    with pytest.raises(SessionError, match=r"built for NVIDIA H200 .*9\.0.*this GPU is NVIDIA L4"):
        TrtSession(path)


def test_engine_that_differs_from_its_contract_is_refused(
    write_engine: Any, host_cuda: Any, engine: Any
) -> None:
    engine.specs["doubled"] = TensorSpec("doubled", (1, 2), "float32")
    with pytest.raises(SessionError, match="not those of its contract"):
        TrtSession(write_engine())
    assert host_cuda.live == {}
