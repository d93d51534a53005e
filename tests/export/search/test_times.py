"""Milliseconds of groups: floors by hand, and measured layers completed by them."""

from __future__ import annotations

import pytest

from maskrt.export.precision.groups import group_tree
from maskrt.export.precision.mixture import GroupPrecision
from maskrt.export.roofline.gpus import Gpu
from maskrt.export.search.journal import Journal
from maskrt.export.search.search import uniform
from maskrt.export.search.times import (
    FloorTimes,
    MeasuredLayer,
    floor_times,
    group_of_nodes,
    measured_times,
)
from maskrt.export.search.trials import Trials
from maskrt.export.search.verdict import Verdict

from .test_search import STAGES, chain, name_of

MACS = 4
"""Of each of 32 layers of `chain`: one pixel of four times one weight."""
SLOW = Gpu("Slow", {"fp32": 1e-9, "fp16": 4e-9}, 1e12, 0.0, "made up: 1000 operations a second")
LEVELS: tuple[GroupPrecision, ...] = ("fp32", "fp16")


def floors(weights: list[float] | None = None) -> FloorTimes:
    model = chain(weights)
    trials = Trials(model, lambda _, few: Verdict(True, {}), {}, Journal(), lambda _: None)
    tree = group_tree(model)
    choices = {level: uniform(tree, LEVELS, level, {}) for level in LEVELS}
    return floor_times(model, trials.typed, SLOW, choices)


@pytest.mark.parametrize("weights", [None, [1e6] * 32], ids=["fit", "beyond half"])
def test_floors_are_work_over_the_peak_of_its_precision(weights: list[float] | None) -> None:
    """Two operations a MAC: 8 of 1000 a second are 8 ms; weights that do not fit cost the same."""
    times = floors(weights)
    assert times.by_group[name_of(0)] == {
        "fp32": pytest.approx(2 * MACS),
        "fp16": pytest.approx(2 * MACS / 4),
    }
    choice = dict.fromkeys(times.by_group, "fp16") | {name_of(0): "fp32"}
    assert times.total(choice) == pytest.approx(31 * 2 + 8)
    assert "not measured (made up" in times.source


def test_a_profile_takes_the_place_of_floors_where_it_has_a_group() -> None:
    """A layer of two groups is shared out; what no engine ran is scaled by the floors."""
    model = chain()
    group_of = group_of_nodes(model, group_tree(model).names)
    layers = [
        MeasuredLayer(("node0", "node1"), "float16", 6.0),
        MeasuredLayer(("node2",), "float32", 10.0),
        MeasuredLayer(("elsewhere",), "float16", 0.5),
    ]
    times = measured_times([layers], "a profile", group_of, floors())
    assert times.by_group[name_of(0)] == {"fp32": pytest.approx(12), "fp16": pytest.approx(3)}
    assert times.by_group[name_of(2)] == {"fp32": pytest.approx(10), "fp16": pytest.approx(2.5)}
    assert times.by_group[name_of(3)] == {"fp32": pytest.approx(8), "fp16": pytest.approx(2)}
    all_half = dict.fromkeys(times.by_group, LEVELS[1])
    assert times.total(all_half) == pytest.approx(3 + 3 + 2.5 + 29 * 2 + 0.5)
    assert len(times.by_group) == STAGES * 8
