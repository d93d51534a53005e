"""Peaks, and the time that a row's work would take at them."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest

from maskrt.eval.report.plain import to_json
from maskrt.eval.timing.floor import (
    NOT_MEASURED,
    Work,
    floor_table,
    floors,
)
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.peaks import CALLS, Peak, PeakMeter, Probe, best_peak
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import BenchOptions
from maskrt.runtime.sessions.interface import Backend

PICTURES = [np.full((100, 120, 3), 90, np.uint8)]
PEAKS = (
    Peak("cpu", "fp32", "small", 10_000_000, (0.4, 0.2)),  # 50 GMAC/s
    Peak("cpu", "fp32", "large", 20_000_000, (0.5, 0.2)),  # 100 GMAC/s
    Peak("cpu", "bf16", "wide", 100_000_000, (0.1,)),  # 1000 GMAC/s
)
BANDWIDTHS = {"cpu": 10e9}
CPU = Backend("onnxruntime", "cpu", "fp32", "onnxruntime-cpu")
CPU_BF16 = Backend("openvino", "cpu", "bf16", "openvino-cpu-bf16")
GPU = Backend("tensorrt", "cuda", "fp16", "tensorrt")
WORK = Work(full_macs=200_000_000, half_macs=800_000_000, least_bytes=5_000_000, source="test")


@pytest.fixture
def row(scripted, clock):
    """A measured row of 25 ms with this backend."""

    def make(backend):
        predictor = scripted(backend=backend, on_run=lambda: clock.advance_ms(25.0))
        candidate = Candidate("a.onnx", predictor, "sha")
        (found,) = bench([candidate], PICTURES, BenchOptions(samples=5)).backends
        return found

    return make


def test_the_meter_keeps_recorded_calls_only(clock, monkeypatch):
    monkeypatch.setattr("maskrt.eval.timing.peaks.time", clock)
    durations = itertools.cycle([100.0, *[2.0] * CALLS])  # the first of a round is not recorded
    probe = Probe("cpu", "fp32", "p", 8_000_000, lambda: clock.advance_ms(next(durations)))
    meter = PeakMeter([probe])
    meter.round()
    meter.round()
    (peak,) = meter.peaks()
    assert peak.samples_ms == (2.0,) * 2 * CALLS
    assert peak.macs_per_s == pytest.approx(4e9)
    assert to_json(peak)["macs_per_s"] == peak.macs_per_s


def test_the_best_peak_is_of_the_same_device_and_precision():
    assert best_peak(PEAKS, "cpu", "fp32") is PEAKS[1]
    assert best_peak(PEAKS, "cpu", "bf16") is PEAKS[2]
    assert best_peak(PEAKS, "cuda", "fp32") is None


def test_int8_is_held_against_a_peak_of_int8_alone(row):
    work = dataclasses.replace(WORK, half_macs=0, int8_macs=800_000_000)
    works = {"a.onnx": work}
    (unknown,) = floors([row(CPU)], works, PEAKS, BANDWIDTHS)
    assert unknown.of_peak is None
    peaks = (*PEAKS, Peak("cpu", "int8", "integers", 100_000_000, (0.05,)))  # 2000 GMAC/s
    (floor,) = floors([row(CPU)], works, peaks, BANDWIDTHS)
    assert floor.compute_ms == pytest.approx(2.0 + 0.4)


def test_without_halves_all_is_fp32(row):
    (floor,) = floors([row(CPU)], {"a.onnx": WORK}, PEAKS, BANDWIDTHS)
    assert floor.compute_ms == pytest.approx(1_000_000_000 / 100e9 * 1e3)  # 10 ms
    assert floor.bytes_ms == pytest.approx(0.5)
    assert floor.floor_ms == floor.compute_ms
    assert floor.of_peak == pytest.approx(10.0 / 25.0)
    assert floor.scope == "model"


def test_halves_take_the_peak_of_their_precision(row):
    (floor,) = floors([row(CPU_BF16)], {"a.onnx": WORK}, PEAKS, BANDWIDTHS)
    assert floor.compute_ms == pytest.approx(2.0 + 0.8)


def test_the_engine_scope_is_preferred(row):
    found = row(CPU)
    summary = dataclasses.replace(found.summaries["model"], p50_ms=20.0)
    found = dataclasses.replace(found, summaries={**found.summaries, "engine": summary})
    (floor,) = floors([found], {"a.onnx": WORK}, PEAKS, BANDWIDTHS)
    assert (floor.scope, floor.of_peak) == ("engine", pytest.approx(0.5))


def test_bytes_decide_where_little_is_multiplied(row):
    work = Work(1000, 0, 100_000_000, "test")
    (floor,) = floors([row(CPU)], {"a.onnx": work}, PEAKS, BANDWIDTHS)
    assert floor.floor_ms == floor.bytes_ms == pytest.approx(10.0)


def test_a_peak_that_was_not_measured_gives_no_share(row):
    (floor,) = floors([row(GPU)], {"a.onnx": WORK}, PEAKS, BANDWIDTHS)
    assert floor.compute_ms is floor.bytes_ms is floor.of_peak is None
    table = floor_table([floor], PEAKS, BANDWIDTHS)
    assert table.rows[0][-4:] == (NOT_MEASURED, NOT_MEASURED, "25.00", NOT_MEASURED)
    assert json.loads(json.dumps(to_json(floor)))["of_peak"] is None


def test_the_table_shows_the_share_and_the_peaks(row):
    found = floors([row(CPU_BF16)], {"a.onnx": WORK}, PEAKS, BANDWIDTHS)
    table = floor_table(found, PEAKS, BANDWIDTHS, ["b.safetensors"])
    assert table.rows[0] == (
        *("a.onnx", "openvino-cpu-bf16", "1.00", "80%", "5.0"),
        *("2.800", "0.500", "25.00", "11.2%"),
    )
    notes = " ".join(table.notes)
    assert "CPU FP32 100.0 GMAC/s (large)" in notes
    assert "CPU BF16 1000.0 GMAC/s (wide)" in notes
    assert "CPU copy 10.0 GB/s" in notes
    assert "Not counted: b.safetensors" in notes


def test_a_row_without_known_work_has_no_floor(row):
    assert floors([row(CPU)], {}, PEAKS, BANDWIDTHS) == ()
