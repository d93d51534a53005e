import json
from types import SimpleNamespace

import numpy as np
import pytest

from maskrt.eval.report.latency_tables import latency_tables
from maskrt.eval.report.plain import to_json
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.peaks import CALLS, Probe
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import BenchOptions, quick_options
from maskrt.runtime.errors import InputError

PICTURES = [np.full((100, 120, 3), value, np.uint8) for value in (10, 20, 30)]
SHORT = BenchOptions(samples=20, warmup_calls=25)


@pytest.fixture
def timed(scripted, clock):
    """A candidate whose runs take log-normal time around `ms` on the scripted clock."""

    def make(name, ms, seed=0, spread=0.05, **options):
        rng = np.random.default_rng(seed)
        log.append((name, 0))

        def on_run():
            log.append((name, 1))
            clock.advance_ms(ms * rng.lognormal(0.0, spread))

        return Candidate(name, scripted(backend=name, on_run=on_run, **options), f"hash of {name}")

    log = []
    make.log = log
    return make


def test_the_ratio_interval_covers_the_true_speed_up(timed):
    result = bench([timed("slow", 8.0), timed("fast", 4.0, seed=1)], PICTURES)
    slow, fast = result.backends
    assert slow.speedups == {}
    ratio = fast.speedups["model"]
    assert ratio.low <= 2.0 <= ratio.high
    assert ratio.high - ratio.low < 0.2
    assert ratio.certain
    assert slow.samples_ms["model"].shape == fast.samples_ms["model"].shape == (20, 10)
    assert result.turns_missing == 0


def test_turns_are_interleaved_a_b_b_a(timed):
    candidates = [timed("A", 2.0), timed("B", 3.0)]
    bench(candidates, PICTURES, BenchOptions(samples=100, warmup_calls=25))
    order = [name for name, ran in timed.log if ran]
    calls = 5 + 1  # one unrecorded
    rounds = order[-8 * calls :]
    assert rounds == (["A"] * calls + ["B"] * 2 * calls + ["A"] * calls) * 2


def test_pipeline_is_exactly_its_phases(timed):
    (backend,) = bench([timed("A", 2.0)], PICTURES, SHORT).backends
    total = sum(backend.phases_ms.values())
    assert np.allclose(total, backend.samples_ms["pipeline"])
    assert backend.phase_medians_ms()["model"] == pytest.approx(2.0, rel=0.1)


def test_engine_scope_is_absent_where_the_session_does_not_offer_it(timed):
    (backend,) = bench([timed("A", 2.0)], PICTURES, SHORT).backends
    assert set(backend.summaries) == {"model", "pipeline"}


def test_engine_scope_is_timed_without_the_upload(timed, clock):
    candidate = timed("A", 2.0)
    candidate.predictor.session.on_device = SimpleNamespace(
        upload=lambda images, sizes: clock.advance_ms(50.0),
        execute=lambda: clock.advance_ms(1.5),
    )
    (backend,) = bench([candidate], PICTURES, SHORT).backends
    assert backend.summaries["engine"].p50_ms == pytest.approx(1.5)
    assert backend.summaries["pipeline"].p50_ms == pytest.approx(2.0, rel=0.1)


def test_warm_up_ends_when_stable_and_is_not_counted(scripted, clock):
    durations = iter([500.0, *np.linspace(40.0, 2.0, 20), *[2.0] * 10_000])
    candidate = Candidate("A", scripted(on_run=lambda: clock.advance_ms(next(durations))), "h")
    (backend,) = bench([candidate], PICTURES, SHORT).backends
    assert backend.first_call_ms == pytest.approx(500.0)
    assert not backend.warmed_up  # 25 calls are too few for 21 falling ones and two windows
    assert backend.warmup_calls == 25
    durations = iter([500.0, *np.linspace(40.0, 2.0, 20), *[2.0] * 10_000])
    (backend,) = bench([candidate], PICTURES, BenchOptions(samples=20)).backends
    assert backend.warmed_up
    assert backend.warmup_calls == pytest.approx(36, abs=5)
    assert backend.summaries["model"].p99_ms == pytest.approx(2.0)


def test_seconds_replace_the_number_of_samples_in_turns_enough_for_an_interval(timed):
    options = BenchOptions(seconds=2.0)
    result = bench([timed("A", 10.0, spread=0), timed("B", 30.0, spread=0)], PICTURES, options)
    recorded_ms = sum(float(b.samples_ms["pipeline"].sum()) for b in result.backends)
    turn_ms = 5 * (10.0 + 30.0)  # a twentieth of 2 s at 20 ms on average
    assert 4000.0 <= recorded_ms < 4000.0 + turn_ms
    assert {b.samples_ms["pipeline"].shape for b in result.backends} == {(20, 5)}


@pytest.mark.parametrize(
    ("samples", "shape"), [(1, (1, 1)), (12, (12, 1)), (45, (45, 1)), (250, (25, 10))]
)
def test_so_many_samples_are_taken_as_were_asked_for(timed, samples, shape):
    result = bench([timed("A", 2.0), timed("B", 3.0)], PICTURES, BenchOptions(samples=samples))
    assert {b.samples_ms["model"].shape for b in result.backends} == {shape}


def test_below_ten_turns_there_is_no_interval_and_nothing_is_certain(timed):
    pair = [timed("slow", 8.0), timed("fast", 4.0)]
    result = bench(pair, PICTURES, BenchOptions(samples=9))
    ratio, summary = result.backends[1].speedups["model"], result.backends[1].summaries["model"]
    assert (ratio.low, ratio.high, ratio.certain) == (None, None, False)
    assert (summary.p50_low_ms, summary.p50_high_ms) == (None, None)
    assert result.turns_missing == ratio.turns_missing == summary.turns_missing == 1
    assert json.loads(json.dumps(to_json(result)))["turns_missing"] == 1
    (table,) = latency_tables(result, [])
    assert "1 of the 10 turns that they need are missing" in " ".join(table.notes)
    assert "±" not in "".join(table.rows[1])
    enough = bench(pair, PICTURES, BenchOptions(samples=10))
    assert enough.backends[1].speedups["model"].certain
    assert "missing" not in " ".join(latency_tables(enough, [])[0].notes)


def test_batches_take_the_pictures_in_turn(timed):
    result = bench([timed("A", 2.0, batch=2)], PICTURES, SHORT)
    assert result.batches == (2,)
    assert [backend.batch for backend in result.backends] == [2]


def test_the_clock_probe_is_asked_once_per_round(timed):
    states = iter(range(100))
    result = bench([timed("A", 2.0)], PICTURES, SHORT, clock_probe=lambda: {"n": next(states)})
    assert result.clock_log == tuple({"n": number} for number in range(10))
    odd = bench([timed("A", 2.0)], PICTURES, BenchOptions(samples=3), clock_probe=dict)
    assert len(odd.clock_log) == 2


def test_progress_ends_at_one(timed):
    told = []
    bench([timed("A", 2.0)], PICTURES, SHORT, on_progress=lambda done, _: told.append(done))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_json_keeps_every_sample(timed):
    result = bench([timed("A", 2.0)], PICTURES, SHORT, picture_names=["a.png"])
    values = json.loads(json.dumps(to_json(result)))
    assert np.array(values["backends"][0]["samples_ms"]["model"]).size == 20
    assert values["picture_names"] == ["a.png"]


def test_on_a_real_clock_a_session_takes_time(scripted):
    (backend,) = bench([Candidate("A", scripted(), "h")], PICTURES, quick_options()).backends
    assert (backend.samples_ms["pipeline"] > 0).all()


def test_nothing_to_time_is_refused(timed):
    with pytest.raises(InputError, match="0 models and 3 pictures"):
        bench([], PICTURES)
    with pytest.raises(InputError, match="1 models and 0 pictures"):
        bench([timed("A", 1.0)], [])


def test_a_speed_up_compares_equal_batches_only(timed):
    candidates = [timed("A", 1.0), timed("B", 8.0, batch=2), timed("C", 4.0, batch=2)]
    result = bench(candidates, PICTURES, SHORT)
    a, b, c = result.backends
    assert result.batches == (1, 2)
    assert a.speedups == b.speedups == {}
    assert c.speedups["model"].value == pytest.approx(2.0, rel=0.1)
    assert [backend.name for backend in result.of_batch(2).backends] == ["B", "C"]
    assert result.of_batch(2).options == result.options


def test_a_speed_up_is_over_the_first_row_of_its_family(timed, proposing, clock):
    def slow():
        clock.advance_ms(6.0)

    proposals = Candidate("P", proposing(on_run=slow), "hash of P")
    others = [timed("A", 1.0), timed("B", 2.0)]
    p, a, b = bench([proposals, *others], PICTURES, SHORT).backends
    assert (p.family, p.speedups, a.speedups) == ("fastmask", {}, {})
    assert b.speedups["model"].value == pytest.approx(0.5, rel=0.1)


def test_peaks_are_probed_after_every_round(timed):
    calls = []
    probe = Probe("cpu", "fp32", "nothing", 1000, lambda: calls.append(len(timed.log)))
    result = bench([timed("A", 2.0)], PICTURES, SHORT, peak_probes=[probe])
    (peak,) = result.peaks
    assert len(peak.samples_ms) == 10 * CALLS  # ten rounds
    assert len(calls) == 10 * (CALLS + 1)
    assert len(set(calls)) == 10  # all calls of a round stand together
    assert json.loads(json.dumps(to_json(result)))["peaks"][0]["macs"] == 1000


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"seconds": 0.0}, {"seconds": np.inf}, {"seconds": np.nan}]
)
def test_options_that_measure_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="expected at least one sample"):
        BenchOptions(**wrong)
