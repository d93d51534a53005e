"""The protocol on a scripted clock: order, medians, floors, and outputs that disagree."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from maskrt.eval.report.plain import to_json
from maskrt.eval.timing.operators import (
    OPTIONS,
    Implementation,
    bench_operator,
    cpu_bandwidth,
    operator_table,
    proposal_boxes,
    wall_clock,
)

OUTPUT = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
BANDWIDTHS = {"cpu": 10e9, "cuda": 1000e9}
SHORT = dataclasses.replace(OPTIONS, samples=16)
Make = Callable[..., Implementation]


@pytest.fixture
def taking(clock: Any, monkeypatch: pytest.MonkeyPatch) -> Make:
    """An implementation whose calls take log-normal time around `ms` on the scripted clock."""
    monkeypatch.setattr("maskrt.eval.timing.operators.time", clock)
    log: list[str] = []

    def make(name: str, ms: float, output: Any = OUTPUT, **fields: Any) -> Implementation:
        rng = np.random.default_rng(len(name))

        def call() -> None:
            log.append(name)
            clock.advance_ms(ms * rng.lognormal(0.0, 0.02))

        common = {"device": "cpu", "precision": "fp32", "least_bytes": 10**7, "tolerance": 1e-4}
        return Implementation(
            name, **{**common, **fields}, time_ms=wall_clock(call), result=lambda: output
        )

    make.log = log  # type: ignore[attr-defined]
    return make


def test_ratio_floor_and_share_are_those_of_the_medians(taking: Make) -> None:
    ways = [taking("ours", 4.0), taking("theirs", 8.0, baseline=True)]
    ours, theirs = bench_operator("case", ways, BANDWIDTHS, SHORT).rows
    assert theirs.speedup is None
    assert ours.speedup is not None
    assert ours.speedup.low < 2.0 < ours.speedup.high
    assert ours.summary.p50_ms == pytest.approx(4.0, rel=0.05)
    assert ours.floor_ms == pytest.approx(1.0)  # 10 MB at 10 GB/s
    assert ours.floor_share == pytest.approx(0.25, rel=0.05)


def test_devices_are_compared_with_their_own_baseline_and_bandwidth(taking: Make) -> None:
    ways = [
        taking("cpu way", 4.0),
        taking("cpu baseline", 8.0, baseline=True),
        taking("gpu way", 0.1, device="cuda"),
        taking("gpu baseline", 0.3, device="cuda", baseline=True),
        taking("lone", 1.0, device="cpu"),
    ]
    rows = {row.name: row for row in bench_operator("case", ways, BANDWIDTHS, SHORT).rows}
    speedup = rows["gpu way"].speedup
    assert speedup is not None
    assert speedup.value == pytest.approx(3.0, rel=0.1)
    assert rows["gpu way"].floor_ms == pytest.approx(0.01)
    without = bench_operator("case", ways[:1], BANDWIDTHS, SHORT).rows
    assert without[0].speedup is None


def test_turns_are_interleaved_a_b_b_a(taking: Make) -> None:
    bench_operator("case", [taking("A", 2.0), taking("B", 3.0)], BANDWIDTHS, SHORT)
    turn = 1 + 1  # one unrecorded
    rounds = taking.log[-8 * turn :]  # type: ignore[attr-defined]
    assert rounds == (["A"] * turn + ["B"] * 2 * turn + ["A"] * turn) * 2


def test_every_row_has_as_many_samples_as_asked_for(taking: Make) -> None:
    rows = bench_operator("case", [taking("A", 2.0), taking("B", 3.0)], BANDWIDTHS, SHORT).rows
    assert [row.samples_ms.shape for row in rows] == [(16, 1), (16, 1)]


def test_seconds_replace_the_number_of_samples(taking: Make) -> None:
    options = dataclasses.replace(SHORT, seconds=0.5)
    rows = bench_operator("case", [taking("A", 10.0), taking("B", 30.0)], BANDWIDTHS, options).rows
    recorded_ms = sum(float(row.samples_ms.sum()) for row in rows)
    assert 1000 <= recorded_ms < 1000 + 1.1 * 2 * 4 * 40


def test_warm_up_is_bounded_by_calls_and_by_time(taking: Make, clock: Any) -> None:
    falling = iter(2.0 ** np.arange(40, 0, -1))
    restless = dataclasses.replace(
        taking("A", 1.0), time_ms=wall_clock(lambda: clock.advance_ms(next(falling, 1.0)))
    )
    (row,) = bench_operator("case", [restless], BANDWIDTHS, SHORT).rows
    assert not row.warmed_up
    assert row.warmup_calls == 2  # the first may compile; 2^39 ms are more than the time allowed
    falling = iter(np.linspace(100, 10, 40))
    (row,) = bench_operator("case", [restless], BANDWIDTHS, SHORT).rows
    assert row.warmup_calls == SHORT.warmup_calls
    (row,) = bench_operator("case", [taking("steady", 2.0)], BANDWIDTHS, SHORT).rows
    assert (row.warmed_up, row.warmup_calls) == (True, 10)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (OUTPUT + np.float32(0.25), "by 0.25; expected at most 0.0001"),
        (np.where(OUTPUT > 0.9, np.nan, OUTPUT), "by inf"),
        (OUTPUT[:1], "by inf"),
    ],
    ids=["other values", "not a number", "another shape"],
)
def test_a_row_that_disagrees_is_a_failure_and_has_no_time(
    taking: Make, output: Any, told: str
) -> None:
    ways = [taking("right", 2.0), taking("wrong", 1.0, output)]
    result = bench_operator("case", ways, BANDWIDTHS, SHORT)
    assert [row.name for row in result.rows] == ["right"]
    (failure,) = result.failures
    assert failure.startswith("wrong: differs from right")
    assert told in failure
    assert "wrong" not in taking.log  # type: ignore[attr-defined]
    table = operator_table(result, BANDWIDTHS, "theirs")
    assert any(note == f"FAILED {failure}" for note in table.notes)


def test_a_first_row_that_is_no_number_leaves_no_row(taking: Make) -> None:
    ways = [taking("broken", 2.0, OUTPUT * np.nan), taking("other", 2.0)]
    result = bench_operator("case", ways, BANDWIDTHS, SHORT)
    assert result.rows == ()
    assert len(result.failures) == 2


def test_a_difference_within_its_tolerance_is_shown(taking: Make) -> None:
    near = taking("near", 1.0, OUTPUT.astype(np.float16), tolerance=2e-3, precision="fp16")
    result = bench_operator("case", [taking("right", 2.0), near], BANDWIDTHS, SHORT)
    assert 0 < result.rows[1].max_difference < 2e-3
    cells = operator_table(result, BANDWIDTHS, "theirs").rows[1]
    assert f"{result.rows[1].max_difference:.1e}" in cells


def test_table_and_json_tell_the_same(taking: Make) -> None:
    ways = [taking("ours", 4.0), taking("theirs", 8.0, baseline=True)]
    result = bench_operator("case", ways, BANDWIDTHS, SHORT)
    values = json.loads(json.dumps(to_json(result)))
    table = operator_table(result, BANDWIDTHS, "theirs")
    for row, cells in zip(values["rows"], table.rows, strict=True):
        assert np.median(row["samples_ms"]) == pytest.approx(row["summary"]["p50_ms"], abs=1e-3)
        assert cells[0] == row["name"]
        assert cells[1].startswith(f"{row['summary']['p50_ms']:.3f}")
        assert cells[4] == f"{row['floor_share']:.0%}"
    assert table.rows[1][-1] == "-"
    assert "cpu 10.0 GB/s" in table.notes[0]


def test_progress_ends_at_one(taking: Make) -> None:
    told: list[float] = []
    bench_operator(
        "case",
        [taking("A", 2.0)],
        BANDWIDTHS,
        SHORT,
        on_progress=lambda done, _: told.append(done),
    )
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_copy_bandwidth_is_the_bytes_both_ways_over_the_quickest_copy(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskrt.eval.timing.operators.time", clock)
    copied = []

    def copy(target: Any, source: Any) -> None:
        copied.append(source.nbytes)
        target[:] = source
        clock.advance_ms(1.0 if sum(copied) <= 2 << 20 else 2.0)

    monkeypatch.setattr("maskrt.eval.timing.operators.os.sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(np, "copyto", copy)
    assert cpu_bandwidth(1 << 20, copies=4) == pytest.approx(2 * (1 << 20) / 1e-3)
    assert sum(copied) == 4 << 20


def test_copy_bandwidth_of_this_machine_is_plausible() -> None:
    assert 1e8 < cpu_bandwidth(8 << 20, copies=3) < 1e13


def test_proposals_lie_in_the_canvas_and_have_all_sizes() -> None:
    boxes = proposal_boxes(1000, (800, 1216), seed=3)
    assert boxes.shape == (1, 1000, 4)
    assert boxes.dtype == np.float32
    assert (boxes[..., :2] >= 0).all()
    assert (boxes[..., 2:] <= (1216, 800)).all()
    width, height = (boxes[..., 2:] - boxes[..., :2])[0].T
    assert min(width.min(), height.min()) > 15.9
    assert width.max() > 900
    assert height.max() > 600
    np.testing.assert_array_equal(boxes, proposal_boxes(1000, (800, 1216), seed=3))
    assert (boxes != proposal_boxes(1000, (800, 1216), seed=4)).any()
