import json
from types import SimpleNamespace

import numpy as np
import pytest

from maskrt.eval.report.plain import to_json
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.peaks import CALLS, Probe
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import BenchOptions, quick_options
from maskrt.runtime.errors import InputError

PICTURES = [np.full((100, 120, 3), value, np.uint8) for value in (10, 20, 30)]
SHORT = BenchOptions(samples=20, turn_calls=5, warmup_calls=25)


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
    assert slow.summaries["model"].samples >= 200
    assert slow.samples_ms["model"].size == fast.samples_ms["model"].size


def test_turns_are_interleaved_a_b_b_a(timed):
    candidates = [timed("A", 2.0), timed("B", 3.0)]
    bench(candidates, PICTURES, SHORT)
    order = [name for name, ran in timed.log if ran]
    calls = SHORT.turn_calls + 1  # one unrecorded
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


def test_seconds_replace_the_number_of_samples(timed):
    options = BenchOptions(seconds=0.5, turn_calls=5)
    result = bench([timed("A", 10.0, spread=0), timed("B", 30.0, spread=0)], PICTURES, options)
    recorded_ms = sum(float(b.samples_ms["pipeline"].sum()) for b in result.backends)
    round_ms = 2 * 5 * (10.0 + 30.0)
    assert 1000.0 <= recorded_ms < 1000.0 + round_ms


def test_batches_take_the_pictures_in_turn(timed):
    result = bench([timed("A", 2.0, batch=2)], PICTURES, SHORT)
    assert result.batches == (2,)
    assert [backend.batch for backend in result.backends] == [2]


def test_the_clock_probe_is_asked_once_per_round(timed):
    states = iter(range(100))
    result = bench([timed("A", 2.0)], PICTURES, SHORT, clock_probe=lambda: {"n": next(states)})
    assert result.clock_log == ({"n": 0}, {"n": 1})


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


def test_peaks_are_probed_after_every_round(timed):
    calls = []
    probe = Probe("cpu", "fp32", "nothing", 1000, lambda: calls.append(len(timed.log)))
    result = bench([timed("A", 2.0)], PICTURES, SHORT, peak_probes=[probe])
    (peak,) = result.peaks
    assert len(peak.samples_ms) == 2 * CALLS  # two rounds
    assert len(calls) == 2 * (CALLS + 1)
    assert len(set(calls)) == 2  # all calls of a round stand together
    assert json.loads(json.dumps(to_json(result)))["peaks"][0]["macs"] == 1000


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"seconds": 0.0}, {"turn_calls": -1}])
def test_options_that_measure_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="all must be positive"):
        BenchOptions(**wrong)
