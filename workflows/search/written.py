"""The precision file of a finished search: its certificate in words and figures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...eval import CocoData
    from ...export.search.certificate import Candidate, Intervals, Kept, MeasuredSet
    from ...export.search.search import Found
    from ...export.search.times import Times
    from ...export.search.trials import Choice
    from ...export.search.verdict import Verdict


def labelled_sha256(data: CocoData) -> str:
    """Of the annotations of the pictures that are measured, in whatever layout they came."""
    wanted = {record.image_id for record in data.images}
    truth = data.truth.dataset
    rows = [row for row in truth["annotations"] if row["image_id"] in wanted]
    images = [row for row in truth["images"] if row["id"] in wanted]
    return _sha256_of_json([images, rows, truth["categories"]])


def pictures_sha256(pictures: Sequence[Path]) -> str:
    """Of the bytes of some files one after the other."""
    digest = hashlib.sha256()
    for path in pictures:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def key_of(**parts: Any) -> str:
    """What verdicts hold for, as a journal names it."""
    return _sha256_of_json(parts)


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def measured_set(
    verdict: Verdict, passed: bool, gate: float, *, data: str, split: str, count: int, sha256: str
) -> MeasuredSet:
    """One set of pictures in a certificate."""
    from ...eval.parity.gates import undecided
    from ...export.search.certificate import MeasuredSet

    return MeasuredSet(
        data=data,
        split=split,
        count=count,
        sha256=sha256,
        passed=passed,
        figures=verdict.figures,
        intervals=verdict.intervals,
        unseen=_unseen(verdict),
        reason=verdict.reason,
        undecided=tuple(undecided(verdict.intervals, count, gate, "--gate")),
    )


def _unseen(verdict: Verdict) -> Intervals:
    """Where the change on another set of as many pictures is expected: both sets' chance in it."""
    return {
        name: (
            verdict.figures[name] - math.sqrt(2) * (verdict.figures[name] - low),
            verdict.figures[name] + math.sqrt(2) * (high - verdict.figures[name]),
        )
        for name, (low, high) in verdict.intervals.items()
    }


def kept_groups(found: Found, fullest: Mapping[str, float]) -> dict[str, Kept]:
    """The groups above the fastest precision that they could have, and why."""
    from ...export.search.certificate import Kept

    return {
        name: Kept(
            precision=found.choice[name],
            wanted=cost.wanted,
            why=_why(cost.wanted, cost.put_back, cost.alone, fullest.get(name, 0.0)),
            mac_share=cost.mac_share,
            put_back=None if cost.put_back is None else dataclasses.asdict(cost.put_back),
            alone=dataclasses.asdict(cost.alone),
        )
        for name, cost in found.costs.items()
    }


def _why(wanted: str, put_back: Verdict | None, alone: Verdict, share: float) -> str:
    if wanted == "fp16" and share >= 1:
        return f"its largest |x| is {share * 65504:,.0f}, and FP16 ends at 65,504"
    if not alone.figures:
        return f"alone in {wanted.upper()}: {alone.reason}"
    if put_back is None:
        return f"{wanted.upper()} would gain next to no time"
    return f"in {wanted.upper()}, the rest as it is: {put_back}"


def candidates(found: Found, times: Times | None) -> tuple[Candidate, ...]:
    """What was measured on all pictures."""
    from ...export.search.certificate import Candidate

    return tuple(
        Candidate(
            groups=dict(sorted(Counter(tried.choice.values()).items())),
            ms=_total(times, tried.choice),
            passed=tried.passed,
            figures=tried.verdict.figures,
            intervals=tried.verdict.intervals,
        )
        for tried in found.tried
    )


def _total(times: Times | None, choice: Choice) -> float | None:
    return None if times is None else times.total(choice)
