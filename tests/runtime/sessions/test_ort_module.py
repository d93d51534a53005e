"""Which providers of ONNX Runtime start here, and what is said of those that do not."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest

from maskrt.runtime.errors import SessionError
from maskrt.runtime.sessions.ort_module import ONE_NODE, provider_advice, provider_trouble
from maskrt.runtime.sessions.ort_providers import CPU, CUDA, TENSORRT


@pytest.fixture(autouse=True)
def _tried_anew() -> Iterator[None]:
    provider_trouble.cache_clear()
    yield
    provider_trouble.cache_clear()


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """An ONNX Runtime that offers CUDA and has nothing to start it with; returns what it tried."""
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA: that it cannot start cannot be provoked")
    tried: list[list[object]] = []
    real = onnxruntime.InferenceSession

    def session(model: bytes, providers: list[object], enable_fallback: int) -> object:
        tried.append(providers)
        return real(model, providers=[CPU], enable_fallback=enable_fallback)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas"))
    return tried


def test_the_model_that_is_tried_is_one() -> None:
    onnx.checker.check_model(onnx.load_from_string(ONE_NODE))
    session = onnxruntime.InferenceSession(ONE_NODE, providers=[CPU])
    (y,) = session.run(["y"], {"x": np.array([3], np.float32)})
    assert y.tolist() == [3]


def test_the_cpu_starts_and_what_a_build_lacks_does_not() -> None:
    assert provider_trouble(CPU) is None
    assert "not in this build, which offers" in str(provider_trouble("RocketExecutionProvider"))


def test_an_offered_provider_is_tried_once_and_without_a_word(
    gpu_build: list[list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert provider_trouble(CUDA, 3)
    assert gpu_build == [[(CUDA, {"device_id": "3"})]]
    assert capsys.readouterr().out == ""


def test_a_provider_that_ends_in_an_error_quotes_it(
    gpu_build: list[list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(*_: object, **__: object) -> None:
        raise RuntimeError("Please install TensorRT libraries\nsecond line")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert provider_trouble(TENSORRT) == "Please install TensorRT libraries"


@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        ("libcublasLt.so.13: cannot open shared object file", '".[onnxruntime-gpu]"'),
        ("libnvinfer.so.10: cannot open shared object file", '".[onnxruntime-tensorrt]"'),
        ("libcuda.so.1: cannot open shared object file", "Install the NVIDIA driver"),
        ("it is not in this build, which offers CPU", '".[onnxruntime-gpu]"'),
        ("no NVIDIA driver is installed", "maskrt doctor"),
    ],
)
def test_each_trouble_has_its_advice(trouble: str, advice: str) -> None:
    assert advice in provider_advice(trouble)


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SessionError, match=r'pip install "\.\[cpu\]"'):
        provider_trouble(CUDA)
