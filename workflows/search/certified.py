"""The certificate of a finished search."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .opening import Opened, judge_of, named
from .options import Asked, is_function
from .written import candidates, kept_groups, measured_set

if TYPE_CHECKING:
    from ...export.precision.mixture import GroupPrecision
    from ...export.search.certificate import Certificate, MeasuredSet
    from ...export.search.journal import Journal
    from ...export.search.search import Found
    from ...export.search.times import ByGroup, FloorTimes, MeasuredTimes
    from ...export.search.trials import Trials


def certificate_of(
    opened: Opened,
    trials: Trials,
    found: Found,
    times: FloorTimes | MeasuredTimes | None,
    asked: Asked,
    *,
    verified: tuple[MeasuredSet, ...],
    versions: dict[str, str],
) -> Certificate:
    """All that was measured, with what is known of time."""
    from ...export.search.certificate import Certificate
    from ...export.search.times import FloorTimes
    from ...export.search.trials import QUANTIZED, SURE

    judged, gate = opened.judged, asked.gate
    searched = measured_set(found.verdict, trials.passes(found.choice), gate, **judged.named)
    return Certificate(
        model=judged.subject.name,
        metric=judged.named["data"] if is_function(asked.metric) else asked.metric,
        gate=gate,
        sure=SURE if asked.metric == "ap" and set(QUANTIZED) & set(asked.levels) else None,
        precisions=asked.levels,
        sets=(searched, *verified),
        fastest=dataclasses.asdict(found.fastest),
        mac_shares=found.mac_shares,
        kept=kept_groups(found, opened.fullest),
        evaluations=found.evaluations,
        few_evaluations=found.few_evaluations,
        tried=candidates(found, times),
        alone={
            name: {level: dataclasses.asdict(verdict) for level, verdict in row.items()}
            for name, row in sorted(found.alone.items())
        },
        session=asked.session,
        calibration=opened.calibration,
        times="" if times is None else times.source,
        total_ms={} if times is None else _totals(opened, asked.levels, found, times),
        group_ms={} if times is None else _plain(times.by_group),
        gpu=dataclasses.asdict(times.gpu) if isinstance(times, FloorTimes) else None,
        versions=versions,
    )


def verified_on(
    opened: Opened, found: Found, asked: Asked, journal: Journal
) -> tuple[MeasuredSet, ...]:
    """The result on other pictures, which chose nothing."""
    from ...export.search.search import rest_of
    from ...export.search.trials import Trials

    subject = opened.judged.subject
    results = []
    for data in asked.verify:
        asked.say(f"{data.folder}: FP32 and the result on {len(data.images)} pictures, to verify")
        names = named(data)
        trials = Trials(
            subject.model,
            judge_of(subject, data, asked),
            opened.ranges,
            journal,
            asked.say,
            rest=rest_of(asked.levels),
            where=names["sha256"],
        )
        verdict = trials.verdict(found.choice)
        results.append(measured_set(verdict, verdict.passed, asked.gate, **names))
    return tuple(results)


def _plain(by_group: ByGroup) -> dict[str, dict[str, float]]:
    return {name: {str(level): ms for level, ms in row.items()} for name, row in by_group.items()}


def _totals(
    opened: Opened,
    levels: tuple[GroupPrecision, ...],
    found: Found,
    times: FloorTimes | MeasuredTimes,
) -> dict[str, float]:
    from ...export.search.search import uniform

    choices = {f"all {level}": uniform(opened.tree, levels, level, opened.able) for level in levels}
    totals = {name: times.total(choice) for name, choice in choices.items()}
    return {"found": times.total(found.choice), **totals}
