"""Several streams on one predictor: what waits scales, what one lock holds does not."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from maskrt.eval.report.plain import to_json
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.throughput import (
    CALLS_PER_STREAM,
    measure_throughput,
    throughput_table,
)
from maskrt.eval.timing.turns import BenchOptions

PICTURES = [np.full((100, 120, 3), value, np.uint8) for value in (10, 20, 30)]
STREAMS = 4
SHORT = BenchOptions(samples=4 * CALLS_PER_STREAM * STREAMS)


@pytest.fixture
def sleeping(scripted):
    """A candidate whose runs take `ms` of waiting, one at a time or side by side."""

    def make(name, ms, one_at_a_time=False, **options):
        lock = threading.Lock()

        def on_run():
            if one_at_a_time:
                with lock:
                    time.sleep(ms / 1e3)
            else:
                time.sleep(ms / 1e3)

        return Candidate(name, scripted(backend=name, on_run=on_run, **options), f"hash of {name}")

    return make


def test_streams_that_wait_side_by_side_scale(sleeping):
    one, many = measure_throughput([sleeping("free", 20.0)], PICTURES, STREAMS, SHORT)
    assert (one.streams, many.streams) == (1, STREAMS)
    assert one.gain.value == 1.0
    # a machine under load delays threads, but no load lets them wait less
    assert many.gain.value > 1.7
    assert many.pictures_per_s.value < STREAMS * 1000 / 20.0
    assert many.pictures_per_s.value == pytest.approx(
        one.pictures_per_s.value * many.gain.value, rel=1e-9
    )
    assert one.pictures_per_s.value < 1000 / 20.0


def test_a_session_that_takes_one_at_a_time_only_queues(sleeping):
    one, many = measure_throughput(
        [sleeping("locked", 10.0, one_at_a_time=True)], PICTURES, STREAMS, SHORT
    )
    assert many.gain.value < 1.6  # only pre- and post-processing overlap
    # the mean: a lock may serve one thread again and again, and its calls are quick
    assert many.summary.mean_ms > 2 * one.summary.mean_ms
    assert many.pictures_per_s.value <= 1000 / 10.0


def test_both_loads_make_equally_many_calls_in_equally_many_turns(sleeping):
    candidates = [sleeping("A", 1.0), sleeping("B", 1.0, batch=2)]
    results = measure_throughput(candidates, PICTURES, STREAMS, SHORT)
    assert [(r.name, r.streams) for r in results] == [("A", 1), ("A", 4), ("B", 1), ("B", 4)]
    assert {r.samples_ms.shape for r in results} == {(4, CALLS_PER_STREAM * STREAMS)}
    assert {r.turns_s.shape for r in results} == {(4,)}
    per_turn = 2 * CALLS_PER_STREAM * STREAMS  # batch 2
    b = results[2]
    assert b.pictures_per_s.value == pytest.approx(4 * per_turn / b.turns_s.sum())


def test_seconds_replace_the_number_of_samples(sleeping):
    options = BenchOptions(seconds=0.2)
    results = measure_throughput([sleeping("A", 1.0)], PICTURES, 2, options)
    assert sum(float(r.turns_s.sum()) for r in results) >= 0.4


def test_the_table_has_a_row_per_load_and_the_json_every_sample(sleeping):
    options = BenchOptions(samples=10 * CALLS_PER_STREAM * 2)
    results = measure_throughput([sleeping("A", 1.0)], PICTURES, 2, options)
    for result in results:
        for figure in (result.pictures_per_s, result.gain):
            assert figure.low <= figure.value <= figure.high
    table = throughput_table(results)
    assert [row[2] for row in table.rows] == ["1", "2"]
    assert table.rows[0][4] == "1"
    assert table.rows[1][4].startswith(f"{results[1].gain.value:.2f}x ")
    assert "±" in table.rows[0][3]
    few = throughput_table(measure_throughput([sleeping("A", 1.0)], PICTURES, 2, BenchOptions(9)))
    assert "8 of the 10 turns" in few.notes[-1]
    assert "±" not in few.rows[0][3]
    assert all(len(row) == len(table.columns) for row in table.rows)
    values = json.loads(json.dumps(to_json(results[1])))
    assert np.shape(values["samples_ms"]) == results[1].samples_ms.shape
    assert np.allclose(values["turns_s"], results[1].turns_s, atol=1e-6)
    assert values["gain"]["value"] == results[1].gain.value
