from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from maskrt.runtime.errors import SessionError
from maskrt.runtime.sessions.trt.tensorrt_module import (
    import_runtime,
    import_tensorrt,
    is_lean,
    numpy_name,
    tensorrt_logger,
)


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


@pytest.fixture
def lean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tensorrt_lean` is installed and `tensorrt` is not; the path of its package."""
    package = tmp_path / "tensorrt_lean" / "__init__.py"
    package.parent.mkdir()
    package.write_text("__version__ = '10.16.1.11'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean", None)
    monkeypatch.delitem(sys.modules, "tensorrt_lean")  # and what is imported goes afterwards
    return package


@pytest.mark.usefixtures("lean")
def test_the_lean_runtime_opens_engines_where_it_alone_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trt = import_runtime("tensorrt")
    assert is_lean(trt)
    assert trt.__version__ == "10.16.1.11"
    with pytest.raises(SessionError, match=r"tensorrt: the Python package is not installed"):
        import_tensorrt("tensorrt")  # it builds nothing
    monkeypatch.setitem(sys.modules, "tensorrt", full := ModuleType("tensorrt"))
    assert import_runtime("tensorrt") is full
    assert not is_lean(full)


def test_a_lean_runtime_that_does_not_load_is_the_one_that_is_named(lean: Path) -> None:
    lean.write_text("import tensorrt_lean_bindings_of_nobody")
    with pytest.raises(SessionError, match=r"tensorrt-lean: .* lacks .*\[lean\]"):
        import_runtime("tensorrt")


def test_without_either_the_full_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SessionError, match=r'tensorrt: .*pip install "\.\[gpu\]"'):
        import_runtime("tensorrt")


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
