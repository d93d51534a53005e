from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from maskrt.runtime.errors import SessionError
from maskrt.runtime.sessions.trt.tensorrt_module import import_tensorrt, numpy_name, tensorrt_logger


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("tensorrt", "tensorrt", "gpu"), ("tensorrt-rtx", "tensorrt_rtx", "engines")],
)
def test_missing_package_gives_its_pip_line(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SessionError, match=rf'{name}: .*pip install "\.\[{extra}\]"'):
        import_tensorrt(name)


def test_package_whose_libraries_do_not_load_says_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: str) -> None:
        raise ImportError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(SessionError, match=r"does not load \(libnvinfer\.so\.11"):
        import_tensorrt("tensorrt")


def test_logger_is_one_per_module_and_keeps_errors_until_cleared() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    logger = tensorrt_logger(trt)
    assert tensorrt_logger(trt) is logger
    logger.clear()
    assert logger.recent_errors() == "TensorRT gave no reason"
    logger.log(trt.ILogger.Severity.WARNING, "only a warning")
    logger.log(trt.ILogger.Severity.ERROR, "first\n  line")
    logger.log(trt.ILogger.Severity.INTERNAL_ERROR, "second")
    assert logger.recent_errors() == "first line | second"
    logger.clear()


def test_types_have_numpy_names() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')
    names = [numpy_name(t) for t in (trt.DataType.HALF, trt.DataType.UINT8, trt.DataType.INT32)]
    assert names == ["float16", "uint8", "int32"]
    assert numpy_name(SimpleNamespace(name="BF16")) == "bf16"
