"""`maskrt bench --operators` on small inputs: ways that run here agree, the others say why not."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maskrt.engines.kernels.reference import pyramid_roi_align, roi_align, window_align
from maskrt.engines.plugins.operator_config import PyramidRoiAlignCfg
from maskrt.eval.timing.operators import OPTIONS
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.runtime.gpu.kernels import launch
from maskrt.runtime.gpu.kernels.shipped import load_kernel
from maskrt.workflows.operators import bench as operator_bench
from maskrt.workflows.operators import candidates
from maskrt.workflows.operators.bench import bench_operators
from maskrt.workflows.operators.candidates import FP32_TOLERANCE, ways
from maskrt.workflows.operators.cases import (
    Case,
    pyramid_roi_align_case,
    roi_align_case,
    window_align_case,
)
from maskrt.workflows.operators.models import BASELINE, operator_models

Run = Callable[..., Any]
LEVELS = ((9, 7), (4, 5))
SHORT = dataclasses.replace(OPTIONS, samples=4, warmup_calls=2)
SMALL = (
    functools.partial(roi_align_case, (2, 4, 20, 30), 9),
    functools.partial(roi_align_case, (1, 4, 20, 30), 9, 2),
    functools.partial(window_align_case, LEVELS, 4, 9),
    functools.partial(pyramid_roi_align_case, (96, 160), 4, 9, 7, 2),
    functools.partial(pyramid_roi_align_case, (96, 160), 4, 9, 7, 0),
)
NAMES = ["two pictures", "bin step 2", "windows", "pyramid", "adaptive pyramid"]
no_gpu = pytest.mark.skipif(missing_device() is None, reason="this machine has a GPU")


def reference(case: Case) -> Any:
    if case.operator == "MaskrtWindowAlign":
        return window_align(case.first, case.second, LEVELS)
    if isinstance(case.cfg, PyramidRoiAlignCfg):
        cfg = case.cfg
        where = (cfg.levels, cfg.strides_px, cfg.sampling_ratio, cfg.borders_px2)
        return pyramid_roi_align(case.first, case.second, 7, *where)
    step = 14 // case.output_shape[-1]
    return roi_align(case.first, case.second, 14, 1 / 16, 2, step)


@pytest.mark.parametrize("make", SMALL, ids=NAMES)
def test_every_way_that_runs_here_gives_the_reference(make: Callable[[], Case]) -> None:
    case = make()
    with contextlib.ExitStack() as stack:
        made, _ = ways(case, stack)
        assert len(made) >= 2
        for one in made:
            got = one.result()
            assert got.shape == case.output_shape, one.name
            np.testing.assert_allclose(got, reference(case), rtol=0, atol=one.tolerance)
            assert one.time_ms() > 0


def test_ways_of_roi_align_are_both_bodies_torch_and_onnx_runtimes_own() -> None:
    with contextlib.ExitStack() as stack:
        made, _ = ways(SMALL[0](), stack)
    cpu = {one.name: one.baseline for one in made if one.device == "cpu"}
    assert cpu == {
        "ONNX matmul body, CPU FP32": False,
        "ONNX GridSample body, CPU FP32": False,
        f"{BASELINE}, CPU FP32": True,
        "torch operator, CPU FP32": False,
    }
    assert {one.tolerance for one in made if one.device == "cpu"} == {FP32_TOLERANCE}


def test_the_onnx_rows_run_what_their_names_say() -> None:
    models = operator_models(SMALL[0](), False)
    inner = {name: {n.op_type for f in m.functions for n in f.node} for name, m in models.items()}
    assert "MatMul" in inner["ONNX matmul body"]
    assert "GridSample" in inner["ONNX GridSample body"]
    assert [node.op_type for node in models[BASELINE].graph.node] == ["Reshape", "RoiAlign"]
    stepped = operator_models(SMALL[1](), False)[BASELINE]
    assert [node.op_type for node in stepped.graph.node] == ["Reshape", "RoiAlign", "Slice"]


def test_least_bytes_are_inputs_and_output_once() -> None:
    case = SMALL[1]()
    elements = 1 * 4 * 20 * 30 + 9 * 4 * 7 * 7
    assert case.least_bytes(half=False) == 4 * elements + 9 * 4 * 4
    assert case.least_bytes(half=True) == 2 * elements + 9 * 4 * 4


@no_gpu
def test_what_needs_a_gpu_is_absent_with_its_reason() -> None:
    with contextlib.ExitStack() as stack:
        _, absent = ways(SMALL[0](), stack)
    assert "no NVIDIA GPU can be used here" in absent["PTX kernel, CUDA FP16"]
    assert "GPU" in absent["torchvision, CUDA FP32"]
    assert {name.split(", ")[1] for name in absent} == {"CUDA FP32", "CUDA FP16"}


def test_a_run_gives_tables_and_keeps_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_bench, "cpu_bandwidth", lambda: 5e9)
    told: list[tuple[float, str]] = []
    bench = bench_operators(SHORT, SMALL, on_progress=lambda *words: told.append(words))
    result = json.loads(json.dumps(bench.to_json()))
    assert not bench.failed
    assert len(result["cases"]) == len(SMALL)
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert told[-1][1].startswith("5 of 5: ")
    assert result["bandwidths_bytes_per_s"]["cpu"] == 5e9
    for case in result["cases"]:
        assert case["failures"] == []
        assert all(np.array(row["samples_ms"]).shape == (4, 1) for row in case["rows"])
    ratios = {row["name"]: row["speedup"] for row in result["cases"][0]["rows"]}
    assert ratios["ONNX matmul body, CPU FP32"]["value"] > 0
    assert ratios[f"{BASELINE}, CPU FP32"] is None
    titles = [table.title for table in bench.tables]
    assert "MaskrtRoiAlign: map 2x4x20x30, 9 boxes, 14x14 bins, 2 samples" in titles[0]
    assert "MaskrtWindowAlign: pyramid 1x83x4, 9 windows" in titles[2]
    assert all("cpu 5.0 GB/s" in " ".join(table.notes) for table in bench.tables)


def test_a_way_that_computes_something_else_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from maskrt.train.networks import roi_align as trained

    right = trained.roi_align
    monkeypatch.setattr(trained, "roi_align", lambda x, *rest: right(x + 0.01, *rest))
    monkeypatch.setattr(operator_bench, "cpu_bandwidth", lambda: 5e9)
    bench = bench_operators(SHORT, SMALL[:1])
    assert bench.failed
    assert "FAILED torch operator, CPU FP32" in " ".join(bench.tables[0].notes)
    assert "torch operator, CPU FP32" not in {row.name for row in bench.cases[0].rows}


def test_the_command_times_the_cases_and_ends_in_json(
    maskrt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    measure = operator_bench.bench_operators

    def short(options: Any, **others: Any) -> Any:
        asked.append(options)
        return measure(SHORT, SMALL[2:3], **others)

    monkeypatch.setattr(operator_bench, "cpu_bandwidth", lambda: 5e9)
    monkeypatch.setattr(operator_bench, "bench_operators", short)
    ran = maskrt("bench", "--operators", "--json")
    assert (ran.code, ran.json["exit_code"], len(ran.json["cases"])) == (0, 0, 1)
    assert "MaskrtWindowAlign: pyramid 1x83x4, 9 windows" in ran.out
    told = [line for line in ran.out.splitlines() if line.startswith("Not run here: ")]
    assert len(told) == len(ran.json["absent"])
    assert maskrt("bench", "--operators", "--samples", 8, "--seconds", 2).code == 0
    assert asked == [OPTIONS, dataclasses.replace(OPTIONS, samples=8, seconds=2.0)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no MODEL found; expected at least one"),
        (("a.onnx", "--operators"), "--operators together with MODEL"),
        (("--operators", "--html", "a.html"), "--operators together with MODEL, --data or --html"),
        (("--operators", "--samples", 0), "expected at least one sample"),
    ],
    ids=["nothing", "with a model", "with a report", "no samples"],
)
def test_bad_usage_is_one_sentence(maskrt: Run, words: tuple[object, ...], told: str) -> None:
    ran = maskrt("bench", *words)
    assert ran.code == 2
    assert ran.err.startswith("maskrt bench: ")
    assert told in ran.err


class FakeCuda:
    """cuda-python's runtime of a GPU whose copies and kernels take 2 ms each; memory is a dict."""

    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3
    )
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.calls = 0
        self.events: dict[int, int] = {}
        self.alive = 0

    def cudaEventCreate(self) -> tuple[int, int]:
        self.alive += 1
        return 0, len(self.events) + self.alive

    def cudaEventDestroy(self, event: int) -> tuple[int]:
        self.alive -= 1
        return (0,)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:
        self.events[event] = self.calls
        return (0,)

    def cudaEventSynchronize(self, event: int) -> tuple[int]:
        return (0,)

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[int, float]:
        return 0, 2.0 * (self.events[end] - self.events[start])

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        return 0, 77

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        return (0,)

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        return (0,)

    def cudaMalloc(self, nbytes: int) -> tuple[int, int]:
        self.alive += 1
        return 0, 1000 * self.alive

    def cudaFree(self, pointer: int) -> tuple[int]:
        self.alive -= 1
        return (0,)

    def cudaMemcpyAsync(self, *arguments: int) -> tuple[int]:
        self.calls += 1
        return (0,)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr("maskrt.runtime.gpu.cuda.load_cuda", lambda: fake)
    monkeypatch.setattr("maskrt.runtime.gpu.cuda.missing_device", lambda: None)
    monkeypatch.setattr("maskrt.runtime.gpu.cuda.require_device", lambda where: None)
    return fake


def test_bandwidth_of_a_gpu_counts_both_ways_of_one_copy(fake_gpu: FakeCuda) -> None:
    assert candidates.gpu_bandwidth() == pytest.approx(2 * candidates.COPIED_BYTES / 2e-3)
    assert fake_gpu.alive == 0  # events and memory


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("make", SMALL, ids=NAMES)
def test_the_kernel_is_launched_as_the_plugins_launch_it(
    make: Callable[[], Case], half: bool, fake_gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[Any, ...]] = []

    def start(*arguments: Any) -> None:
        fake_gpu.calls += 1
        launched.append(arguments)

    def here(name: str) -> Any:
        return SimpleNamespace(kernel=load_kernel(name, "9.0"), launch=start)

    monkeypatch.setattr(launch, "kernel_here", here)
    case = make()
    with contextlib.ExitStack() as stack:
        one = candidates._ptx(case, half, stack, "kernel")
        assert one.time_ms() == pytest.approx(2.0)
        assert len(launched) == candidates.AHEAD + candidates.LAUNCHES
        grid, inputs, scalars, target, stream = launched[-1]
        kernel = load_kernel(case.cfg.kernel_name(half), "9.0")
        assert len(kernel.arguments) == len(inputs) + len(scalars) + 1
        assert grid[0] == case.output_shape[0]
        assert len({*inputs, target}) == 3
        assert stream == 77
        assert one.result().dtype == (np.float16 if half else np.float32)
    assert fake_gpu.alive == 0
