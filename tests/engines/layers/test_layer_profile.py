"""Times by layer from a stand-in of TensorRT that reports what a test gives it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.engines.builder import build_engine
from maskrt.engines.layers import layer_profile
from maskrt.engines.layers.layer_profile import WARM_UP_RUNS, main, profile_engine
from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.runtime.sidecar import read_sidecar

trt = pytest.importorskip("tensorrt_rtx", reason='needs pip install ".[engines]"')

LAYERS = [
    {
        "Name": "conv + add",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Format/Datatype": "Half"}],
        "Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: add_twice__1]",
    },
    {
        "Name": "fc",
        "LayerType": "gemm",
        "Inputs": [{"Format/Datatype": "Float"}],
        "Metadata": "[ONNX Layer: MatMul_6]",
    },
]


class Device:
    """A context and its TensorRT: each run reports the next row of `times_ms`."""

    def __init__(self, times_ms: list[dict[str, float]], layers: list[Any]) -> None:
        self.times_ms = iter(times_ms)
        self.layers = layers
        self.uploaded: list[np.ndarray] = []
        self.warm_ups = 0
        self.graph_asked = True
        self.is_open = False

    def open(self, _: Any, *, cuda_graph: bool, cache: Any) -> Device:
        assert cache is None
        self.graph_asked, self.is_open = cuda_graph, True
        return self

    def upload(self, images: np.ndarray, image_sizes: np.ndarray) -> None:
        self.uploaded = [images, image_sizes]

    def execute(self) -> None:
        self.warm_ups += 1

    def execute_profiled(self, profiler: Any, runs: int) -> None:
        for _ in range(runs):
            for name, ms in next(self.times_ms).items():
                profiler.report_layer_time(name.rstrip("*"), ms)

    def close(self) -> None:
        self.is_open = False

    def create_engine_inspector(self) -> Device:
        return self

    def get_engine_information(self, _: str) -> str:
        return json.dumps({"Layers": self.layers})


@pytest.fixture
def path(tiny_onnx: Path) -> Path:
    """A real engine of TensorRT-RTX, whose sidecar lists the network."""
    engine = tiny_onnx.with_suffix(".engine")
    build_engine(tiny_onnx, engine, progress=False)
    return engine


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, path: Path) -> Callable[..., Device]:
    """Put a device in place of the GPU."""

    def put(times_ms: list[dict[str, float]], layers: list[Any] = LAYERS) -> Device:
        made = Device(times_ms, layers)
        trt = SimpleNamespace(IProfiler=object, LayerInformationFormat=SimpleNamespace(JSON="json"))
        loaded = SimpleNamespace(
            path=path,
            sidecar=read_sidecar(path),
            gpu=SimpleNamespace(name="NVIDIA L4"),
            trt=trt,
            engine=made,
        )
        monkeypatch.setattr(layer_profile, "load_engine", lambda _: loaded)
        monkeypatch.setattr(layer_profile, "require_contract_tensors", lambda _: None)
        monkeypatch.setattr(layer_profile, "TrtContext", made.open)
        return made

    return put


def test_layers_have_medians_shares_onnx_names_precision_and_macs(
    path: Path, device: Callable[..., Device]
) -> None:
    rows = [(1.0, 3.0), (9.0, 3.0), (1.0, 2.0)]
    made = device([{"fc": fc, "conv + add": conv} for fc, conv in rows])
    profile = profile_engine(path, runs=3)
    conv, fc = profile.layers
    assert (conv.name, conv.ms, conv.share) == ("conv + add", 3.0, 0.75)
    assert (conv.onnx, conv.precision) == (("conv", "add_twice__1"), "float16")
    assert (conv.kind, conv.macs) == ("CaskConvolution", 4 * 8 * 8 * 27)
    assert (fc.ms, fc.share, fc.precision, fc.macs) == (1.0, 0.25, "float32", 8 * 4 * 8)
    assert (profile.total_ms, profile.runs, profile.missing) == (4.0, 3, None)
    assert made.warm_ups == WARM_UP_RUNS
    assert (made.graph_asked, made.is_open) == (False, False)


def test_layers_of_one_name_add_up_within_a_run(path: Path, device: Callable[..., Device]) -> None:
    device([{"fc": 1.0, "fc*": 2.0}, {"fc": 10.0, "fc*": 20.0}, {"fc": 2.0, "fc*": 3.0}])
    (fc,) = profile_engine(path, runs=3).layers
    assert fc.ms == 5.0


def test_the_callers_pictures_run_or_noise_on_the_whole_canvas(
    path: Path, device: Callable[..., Device]
) -> None:
    made = device([{"fc": 1.0}] * 2)
    profile_engine(path, runs=1)
    images, sizes = made.uploaded
    assert (images.shape, images.dtype) == ((1, 8, 8, 3), np.uint8)
    assert images.std() > 50
    assert (sizes.tolist(), sizes.dtype) == ([[8, 8]], np.int32)
    given = np.ones((1, 8, 8, 3), np.uint8), np.array([[3, 4]], np.int32)
    profile_engine(path, *given, runs=1)
    assert made.uploaded[0] is given[0]
    assert made.uploaded[1] is given[1]


def test_layers_are_timed_where_the_inspector_gives_names_only(
    path: Path, device: Callable[..., Device], capsys: pytest.CaptureFixture[str]
) -> None:
    device([{"fc": 1.0}], layers=["fc"])
    assert main([str(path), "--runs", "1"]) == 0
    assert "ONNX nodes, precision and MACs are not known: the inspector" in capsys.readouterr().out


@pytest.mark.parametrize("times", [[{}, {}], [{"fc": 1.0}, {"fc": 1.0, "conv + add": 2.0}]])
def test_layers_that_are_not_reported_in_every_run_are_an_error(
    path: Path, device: Callable[..., Device], times: list[dict[str, float]]
) -> None:
    made = device(times)
    with pytest.raises(SessionError, match=r"tiny\.engine: .* expected every layer in every run"):
        profile_engine(path, runs=2)
    assert not made.is_open


def test_the_bindings_take_the_recorder_and_have_what_is_called() -> None:
    recorder = layer_profile._recorder(trt)
    assert isinstance(recorder, trt.IProfiler)
    recorder.report_layer_time("fc", 0.5)
    assert recorder.times_ms == {"fc": [0.5]}
    assert hasattr(trt.IExecutionContext, "profiler")
    # Without this a run would not report by itself; it is on unless somebody clears it.
    assert hasattr(trt.IExecutionContext, "enqueue_emits_profile")


def test_no_runs_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match="0 runs asked for; expected 1 or more"):
        profile_engine(path, runs=0)


def test_the_command_prints_the_slowest_rows_and_all_as_json(
    path: Path, device: Callable[..., Device], capsys: pytest.CaptureFixture[str]
) -> None:
    device([{"fc": 1.0, "conv + add": 3.0}] * 2)
    assert main([str(path), "--runs", "2", "--rows", "1", "--json"]) == 0
    first, header, row, last = capsys.readouterr().out.splitlines()
    assert first == f"{path} on NVIDIA L4: 2 layers, 4.000 ms in all, medians of 2 runs"
    assert header.split()[:3] == ["layer", "ms", "share"]
    assert row.split() == [
        *["conv", "+", "add", "3.0000", "75.0%", "float16", "0.000"],
        *["conv", "+", "add_twice__1"],
    ]
    found = json.loads(last)
    assert [layer["name"] for layer in found["layers"]] == ["conv + add", "fc"]
    assert found["total_ms"] == 4.0


@pytest.mark.skipif(missing_device() is None, reason="this is what it says without a GPU")
def test_without_a_gpu_one_sentence_says_what_is_missing(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"layer_profile: {path}: no NVIDIA GPU can be used here (")
    assert len(err.splitlines()) == 1
