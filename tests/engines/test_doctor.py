from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from maskrt.engines.doctor import diagnose
from maskrt.runtime.gpu.cuda import missing_device


def test_every_missing_thing_has_a_fix_and_every_present_one_none() -> None:
    findings = diagnose()
    assert all(bool(f.fix) != f.ok for f in findings)
    assert all(f.found for f in findings)
    assert {
        "python",
        "numpy",
        "torch",
        "onnxruntime",
        "tensorrt",
        "tensorrt-rtx",
        "NVIDIA GPU",
    } <= {f.name for f in findings}


def test_missing_tensorrt_gets_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    finding = next(f for f in diagnose() if f.name == "tensorrt")
    assert not finding.ok
    assert finding.fix == 'Run in a clone of maskrt: pip install ".[gpu]"'


def test_the_lean_runtime_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_lean", None)
    (missing,) = (f for f in diagnose() if f.name == "tensorrt-lean")
    assert (missing.ok, missing.found) == (False, "the Python package is not installed")
    assert missing.fix == 'Run in a clone of maskrt: pip install ".[lean]"'
    monkeypatch.delitem(sys.modules, "tensorrt_lean")
    (tmp_path / "tensorrt_lean.py").write_text("__version__ = '10.16.1.11'")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = (f for f in diagnose() if f.name == "tensorrt-lean")
    assert (found.ok, found.found, found.fix) == (True, "10.16.1.11", "")


def test_any_build_will_do_and_two_in_one_folder_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    versions: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    found = {}
    for installed in ((), ("opencv-python",), ("opencv-python", "opencv-python-headless")):
        versions = dict.fromkeys(installed, "4.12")
        (found[installed],) = (f for f in diagnose() if f.name == "OpenCV")
    none, one, both = found.values()
    again = "pip install --force-reinstall --no-deps"
    assert (none.ok, none.fix) == (False, 'Run in a clone of maskrt: pip install "."')
    assert (one.ok, one.found) == (True, "opencv-python 4.12")
    assert (both.ok, both.fix) == (
        False,
        f"pip uninstall -y opencv-python-headless && {again} opencv-python",
    )
    versions = {"onnxruntime": "1.30", "onnxruntime-gpu": "1.30"}
    (two,) = (f for f in diagnose() if f.name == "onnxruntime")
    assert (two.ok, two.fix) == (
        False,
        f"pip uninstall -y onnxruntime && {again} onnxruntime-gpu",
    )


def test_a_provider_that_cannot_start_is_no_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build for GPUs offers CUDA everywhere; `ok` is what starts."""
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: offered)
    trouble = "libcublasLt.so.13: cannot open shared object file"
    monkeypatch.setattr(
        "maskrt.engines.doctor.provider_trouble",
        lambda name: trouble if name == offered[0] else None,
    )
    found = {finding.name: finding for finding in diagnose()}
    assert found["onnxruntime"].ok
    assert found["onnxruntime"].found.endswith("(CPU)")
    assert not found["onnxruntime CUDA"].ok
    assert trouble in found["onnxruntime CUDA"].found
    assert 'pip install ".[onnxruntime-gpu]"' in found["onnxruntime CUDA"].fix


def test_gpu_finding_agrees_with_cuda() -> None:
    finding = next(f for f in diagnose() if f.name == "NVIDIA GPU")
    assert finding.ok is (missing_device() is None)


def test_doctor_does_not_import_torch() -> None:
    code = "import sys; from maskrt.engines.doctor import diagnose; diagnose(); "
    code += "assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("capabilities", "session"),
    [(["FP32", "INT8"], "X.onnx (ONNX Runtime"), (["FP32", "BF16"], "X.onnx@openvino, in BF16")],
)
def test_a_cpu_user_is_told_which_session_to_pick(
    capabilities: list[str], session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("openvino")
    module.Core = lambda: SimpleNamespace(get_property=lambda *_: capabilities)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino", module)
    finding = next(f for f in diagnose() if f.name == "CPU session")
    assert finding.ok
    assert session in finding.found


def test_without_openvino_the_cpu_session_names_its_pip_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    finding = next(f for f in diagnose() if f.name == "CPU session")
    assert finding.fix == 'Run in a clone of maskrt: pip install ".[openvino]"'
