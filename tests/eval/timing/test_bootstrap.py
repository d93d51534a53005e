import numpy as np
import pytest

from maskrt.eval.timing.bootstrap import (
    change_ratio,
    missing_note,
    rate_ratio,
    speed_ratio,
    summarize,
    work_rate,
)
from maskrt.eval.timing.regression import ALLOWED
from maskrt.eval.timing.turns import BenchOptions


def runs(seed, median_ms, turns=40, calls=5):
    """Skewed samples with a mood per turn, as latencies are."""
    rng = np.random.default_rng(seed)
    mood = rng.lognormal(0.0, 0.05, (turns, 1))
    return median_ms * mood * rng.lognormal(0.0, 0.05, (turns, calls))


def test_known_samples_give_known_statistics():
    summary = summarize(np.arange(1.0, 101.0).reshape(20, 5))
    assert summary.samples == 100
    assert summary.p50_ms == pytest.approx(50.5)
    assert summary.p90_ms == pytest.approx(90.1)
    assert summary.p99_ms == pytest.approx(99.01)
    assert summary.mean_ms == pytest.approx(50.5)
    assert summary.cov == pytest.approx(np.sqrt((100**2 - 1) / 12) / 50.5)
    assert summary.p50_low_ms < 50.5 < summary.p50_high_ms


def test_the_same_samples_and_seed_give_the_same_interval():
    assert summarize(runs(1, 3.0)) == summarize(runs(1, 3.0))


def test_an_outlier_is_kept():
    samples = np.full((20, 5), 1.0)
    samples[3, 3] = 1000.0
    assert summarize(samples).mean_ms == pytest.approx(10.99)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """95 % nominal: of 40 experiments 33 or more cover with probability 0.999."""
    covered = sum(
        ratio.low <= 2.0 <= ratio.high
        for ratio in (speed_ratio(runs(s, 6.0, 20), runs(1000 + s, 3.0, 20)) for s in range(40))
    )
    assert covered >= 33


def test_a_ratio_of_equal_backends_is_not_certain():
    assert not speed_ratio(runs(7, 3.0), runs(8, 3.0)).certain
    assert speed_ratio(runs(7, 3.3), runs(8, 3.0)).certain


def test_the_change_between_two_runs_covers_the_truth_about_as_often_as_it_says():
    """Runs of unequal length; 95 % nominal, as above."""
    covered = sum(
        ratio.low <= 1.2 <= ratio.high
        for ratio in (change_ratio(runs(s, 5.0, 30), runs(1000 + s, 6.0, 20)) for s in range(40))
    )
    assert covered >= 33


def one_machine(seed, slower, turns=20, calls=10):
    """Two models in the same turns: drift of both, a mood per turn, and skewed noise per call."""
    rng = np.random.default_rng(seed)
    drift = np.exp(np.linspace(0.0, 0.1, turns) + rng.normal(0.0, 0.005, turns).cumsum())
    noise = [
        rng.lognormal(0.0, 0.03, (turns, 1)) * rng.lognormal(0.0, 0.05, (turns, calls))
        for _ in range(2)
    ]
    return [
        ms * drift[:, None] * factor for ms, factor in zip((10 * slower, 10), noise, strict=True)
    ]


def test_equal_models_are_seldom_and_unequal_ones_mostly_told_apart():
    """At the default options; 95 % nominal, and R1 of the review saw 51 % in runs of 2 turns."""
    options = BenchOptions()
    calls = options.turn_calls(call_ms=10.0)
    shape = {"turns": options.samples // calls, "calls": calls}
    false = sum(speed_ratio(*one_machine(seed, 1.0, **shape)).certain for seed in range(400))
    assert false <= 28  # 7 %
    found = [speed_ratio(*one_machine(seed, 1.05, **shape)) for seed in range(60)]
    assert sum(ratio.certain and ratio.value > 1.0 for ratio in found) >= 48


def test_an_earlier_run_of_the_same_speed_seldom_fails_and_a_slower_one_mostly():
    """Two runs drift each on its own; what is allowed leaves room for that."""
    runs = [[one_machine(2 * s + i, 1.0)[0] for i in range(2)] for s in range(60)]
    assert sum(change_ratio(then, now).low > ALLOWED for then, now in runs) <= 4
    assert sum(change_ratio(then, 1.15 * now).low > ALLOWED for then, now in runs) >= 48


def test_few_turns_give_no_interval():
    """A median of one of 2 turns is no bound for anything."""
    first, this = one_machine(0, 2.0, turns=9)
    sums = first.sum(axis=1), this.sum(axis=1)
    for ratio in (speed_ratio(first, this), change_ratio(first, this), rate_ratio(*sums)):
        assert (ratio.low, ratio.high, ratio.certain, ratio.turns_missing) == (None, None, False, 1)
    assert change_ratio(one_machine(0, 1.0)[0], this).turns_missing == 1
    assert str(speed_ratio(first, this)) == "(1.97x)"
    rate = work_rate(6, np.ones(4))
    assert (str(rate), rate.turns_missing) == ("6.00", 6)
    assert missing_note(0) == []


def test_a_rate_is_all_work_over_all_time():
    turns_s = np.array([1.0, 1.0, 2.0, 4.0] * 3)
    rate = work_rate(6, turns_s)
    assert rate.value == pytest.approx(24 / 8)
    assert 1.5 <= rate.low < rate.value < rate.high <= 6.0
    same = rate_ratio(turns_s, turns_s / 2)
    assert (same.value, same.low, same.high) == pytest.approx((2.0, 2.0, 2.0))
