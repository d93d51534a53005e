"""A simulated engine takes a bench and its report through everything that a GPU would, marked."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maskrt.eval.machine.environment import environment
from maskrt.eval.report.page import RECORDS, Report, report_html, write_report
from maskrt.eval.report.tables import SIMULATED_NOTE, latency_table
from maskrt.eval.timing.latency import bench, bench_json
from maskrt.eval.timing.regression import read_earlier
from maskrt.eval.timing.runner import BenchOptions, Target
from maskrt.eval.timing.simulated import SimulatedSession
from maskrt.eval.timing.throughput import measure_throughput, throughput_table
from maskrt.runtime.errors import InputError
from maskrt.runtime.predictor import Predictor

PICTURES = [np.full((100, 120, 3), value, np.uint8) for value in (10, 20)]
OPTIONS = BenchOptions(samples=20, turn_calls=5)


@pytest.fixture
def simulated(scripted, clock, tmp_path):
    """Makes a predictor that replays these times; further options as `SimulatedSession`'s."""

    def make(backend, sleep=lambda s: clock.advance_ms(1e3 * s), **samples_ms):
        path = tmp_path / f"{backend}.json"
        path.write_text(json.dumps({"backend": backend, "samples_ms": samples_ms}))
        return Predictor(SimulatedSession(scripted().session, path, sleep))

    return make


@pytest.fixture
def result(simulated):
    """ONNX Runtime CUDA at 8 ms against TensorRT at 4 ms, engine 3 ms."""
    cuda = simulated("onnxruntime-cuda", model=[[8.0, 8.1]], engine=[[7.0]])
    engine = simulated("tensorrt", model=[[4.0, 4.1]], engine=[[3.0]])
    targets = [Target("a.onnx", cuda, "s"), Target("a.engine", engine, "t")]
    return bench(targets, PICTURES, OPTIONS)


def test_it_answers_like_its_source_in_the_recorded_time(simulated, scripted, clock):
    predictor, source = simulated("tensorrt", model=[[4.0, 5.0]]), scripted()
    canvases, sizes = predictor.preprocess(PICTURES[:1])
    spent = []
    for _ in range(3):
        before = clock.now_ns
        outputs = predictor.run(canvases, sizes)
        spent.append((clock.now_ns - before) / 1e6)
        for name, array in source.run(canvases, sizes).items():
            assert np.array_equal(outputs[name], array)
            outputs[name][:] = 99  # the caller's to keep
    assert spent == pytest.approx([4.0, 5.0, 4.0])
    assert predictor.session.backend == "SIMULATED tensorrt"
    assert predictor.session.device is None


def test_engine_scope_and_speed_up_are_replayed(result):
    first, engine = result.backends
    assert engine.summaries["engine"].p50_ms == pytest.approx(3.0)
    assert engine.speedups["engine"].value == pytest.approx(7.0 / 3.0)
    assert engine.speedups["model"].value == pytest.approx(8.05 / 4.05, rel=0.02)
    assert first.speedups == {}


def test_page_tables_and_json_are_marked(result, tmp_path):
    report = Report("Try", "Two pictures.", environment(), latency=result)
    page, data = write_report(report, tmp_path / "try.html")
    assert page.read_text().count(SIMULATED_NOTE) >= 2  # banner, and under the table
    assert 'class="banner"' in page.read_text()
    values = json.loads(data.read_text())
    assert values["simulated"] is True
    assert values["latency"]["simulated"] is True
    assert f"**{SIMULATED_NOTE}**" in page.with_suffix(".md").read_text()
    assert SIMULATED_NOTE in latency_table(result, ()).notes
    assert all("SIMULATED" in row[1] for row in latency_table(result, ()).rows)
    with pytest.raises(InputError, match="simulated"):
        read_earlier(data)


def test_a_measured_page_has_no_banner(scripted, clock):
    predictor = scripted(on_run=lambda: clock.advance_ms(2.0))
    real = bench([Target("a.onnx", predictor, "s")], PICTURES, OPTIONS)
    html = report_html(Report("Real", "Two pictures.", environment(), latency=real))
    assert SIMULATED_NOTE not in html
    assert 'class="banner"' not in html
    assert bench_json(real)["simulated"] is False


@pytest.mark.parametrize(
    "place", [RECORDS / "run.html", RECORDS / ".." / "records" / "deep/a.html"]
)
def test_it_is_never_kept_as_a_record(result, place):
    before = sorted(RECORDS.iterdir())
    with pytest.raises(InputError, match="times are simulated"):
        write_report(Report("Try", "None.", {}, latency=result), place)
    assert sorted(RECORDS.iterdir()) == before


def test_it_never_stands_beside_a_measured_row(simulated, scripted):
    targets = [
        Target("a.onnx", scripted(backend="onnxruntime-cpu"), "s"),
        Target("a.engine", simulated("tensorrt", model=[[4.0]]), "t"),
    ]
    with pytest.raises(InputError, match=r"simulated sessions beside a\.onnx"):
        bench(targets, PICTURES, OPTIONS)


def test_streams_share_it(simulated):
    import time

    predictor = simulated("tensorrt", time.sleep, model=[[10.0]])
    options = BenchOptions(samples=32)
    one, many = measure_throughput([Target("a", predictor, "s")], PICTURES, 4, options)
    assert many.gain.value > 1.5
    assert throughput_table([one, many]).rows[1][1] == "SIMULATED tensorrt"


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        '{"samples_ms": {"model": [[1.0]]}}',
        '{"backend": "x", "samples_ms": {"engine": [[1.0]]}}',
        '{"backend": "x", "samples_ms": {"model": []}}',
        '{"backend": "x", "samples_ms": {"model": [[-1.0]]}}',
    ],
)
def test_a_recording_without_times_is_refused(scripted, tmp_path, text):
    path = tmp_path / "recording.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"recording\.json"):
        SimulatedSession(scripted().session, path)
