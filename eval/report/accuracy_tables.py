"""The tables of accuracy, and of what each hop from checkpoint to engine changed, by metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ..coco.accuracy import GATED, LVIS_NAMES, NAMES, NO_TRUTH, Accuracy, Metric
from ..parity.comparison import MATCH_IOU, SCORE_FLOOR
from ..parity.gates import CHANGE_GATE, MATCHED_GATE, Hop
from ..parity.intervals import Interval
from .table import NOT_AVAILABLE, Table

T = TypeVar("T")

_ACCURACY_TITLE: dict[Metric, str] = {"AP": "Accuracy", "AR": "Accuracy of proposals"}
_SIZES_NOTE = "s, m, l: objects below 32², below 96² and from 96² px; n/a: none of that size."
_ACCURACY_NOTE: dict[Metric, str] = {
    "AP": "COCO AP, 0-100, {evaluator}, {images} pictures; " + _SIZES_NOTE,
    "AR": (
        "COCO AR, 0-100, {evaluator}, {images} pictures, classes ignored: recall over IoU "
        "0.50:0.95 of the best 10, 100, 1000 proposals, or of all where a model gives fewer; of "
        "100 by size. " + _SIZES_NOTE
    ),
}
_LVIS_NOTE = (
    "LVIS AP, 0-100, faster-coco-eval: a class counts in pictures that were searched for it; of "
    "the best 300 detections of a picture. r, c, f: rare, common and frequent classes. "
) + _SIZES_NOTE
_HOP_TITLE: dict[Metric, str] = {
    "AP": "Accuracy hop by hop",
    "AR": "Accuracy of proposals hop by hop",
}
_PARTNER: dict[Metric, str] = {
    "AP": "has the same label and",
    "AR": "is of the same window and has",
}
_MATCHED_NOTE = (
    f"matched: share of instances scoring {SCORE_FLOOR} or more whose partner on the other side "
    f"{{partner}} box and mask IoU of at least {MATCH_IOU}; the worse direction of the "
    "two. Δbox px and Δscore: greatest change of any pair, which no gate is on: where two objects "
    "touch, one pair of thousands may move far; IoU: mean mask IoU."
)
_CROWDED_NOTE = (
    "{crowded} pictures hold more than 100 objects of one class: COCO evaluates the best 100 "
    "detections of a class in a picture (maxDets), so AP cannot reach 100 here."
)
_CHANGES_NOTE = (
    "ΔAR: the greatest of the changes of AR@10, AR@100 and AR@1000; gates hold for each."
)
_GATE_NOTE = (
    "[ ]: 95 % interval of a change, by bootstrap over the pictures. "
    f"Gates: FP32 |Δ{{metric}}| ≤ {CHANGE_GATE['fp32']} and {100 * MATCHED_GATE['fp32']} % "
    f"matched; FP16 and INT8 |Δ{{metric}}| ≤ {CHANGE_GATE['fp16']} and "
    f"{100 * MATCHED_GATE['fp16']:g} %."
)


def accuracy_tables(accuracies: Sequence[Accuracy]) -> list[Table]:
    """A table of AP, one of AR and one of LVIS's AP, as far as there are such accuracies."""
    tables = [accuracy_table(group) for group in _by_metric(accuracies, lambda a: a.metric)]
    measured = [accuracy for accuracy in accuracies if accuracy.lvis]
    return [*tables, lvis_table(measured)] if measured else tables


def hop_tables(hops: Sequence[Hop]) -> list[Table]:
    """What each step from checkpoint to engine changed, and whether its gates hold, by metric."""
    return [hop_table(group) for group in _by_metric(hops, lambda hop: hop.parity.metric)]


def _by_metric(items: Sequence[T], metric_of: Callable[[T], Metric]) -> list[list[T]]:
    """The items of each metric in order, AP first; no empty group."""
    groups = [[item for item in items if metric_of(item) == metric] for metric in NAMES]
    return [group for group in groups if group]


def accuracy_table(accuracies: Sequence[Accuracy]) -> Table:
    """A row for boxes and one for masks, if any, of each artefact; one metric, one or more."""
    metric = accuracies[0].metric
    rows = []
    for accuracy in accuracies:
        for kind, values in accuracy.kinds.items():
            cells = [points(values[name]) for name in NAMES[metric]]
            rows.append((accuracy.name, accuracy.backend, kind, *cells))
        if accuracy.boundary:
            cells = [points(accuracy.boundary[name]) for name in NAMES[metric]]
            rows.append((accuracy.name, accuracy.backend, "boundary", *cells))
    images = sorted({accuracy.images for accuracy in accuracies})
    crowded = max(accuracy.crowded for accuracy in accuracies)
    evaluators = sorted({accuracy.evaluator for accuracy in accuracies})
    return Table(
        title=_ACCURACY_TITLE[metric],
        columns=("model", "backend", "of", *NAMES[metric]),
        rows=tuple(rows),
        notes=(
            _ACCURACY_NOTE[metric].format(
                images=" and ".join(map(str, images)), evaluator=" and ".join(evaluators)
            ),
            *([_CROWDED_NOTE.format(crowded=crowded)] if crowded else []),
        ),
    )


def lvis_table(accuracies: Sequence[Accuracy]) -> Table:
    """The same of LVIS's federated AP; each accuracy has one."""
    rows = [
        (one.name, one.backend, kind, *(points(values[name]) for name in LVIS_NAMES))
        for one in accuracies
        for kind, values in one.lvis.items()
    ]
    columns = ("model", "backend", "of", *LVIS_NAMES)
    return Table("Federated accuracy (LVIS)", columns, tuple(rows), (_LVIS_NOTE,))


def hop_table(hops: Sequence[Hop]) -> Table:
    """Hops of one metric, at least one."""
    metric = hops[0].parity.metric
    return Table(
        title=_HOP_TITLE[metric],
        columns=(
            "hop",
            "gate",  # first, so that a phone shows it
            f"Δ{metric} box",
            f"Δ{metric} mask",
            "matched",
            "Δbox px",
            "Δscore",
            "IoU",
        ),
        rows=tuple(_hop_row(hop) for hop in hops),
        notes=(
            _MATCHED_NOTE.format(partner=_PARTNER[metric]),
            *([_CHANGES_NOTE] if len(GATED[metric]) > 1 else []),
            _GATE_NOTE.format(metric=metric),
            *(f"{h.reference} → {h.candidate}: {why}" for h in hops for why in h.undecided),
            *(f"FAILED {h.reference} → {h.candidate}: {why}" for h in hops for why in h.failures),
        ),
        keys=1,
    )


def points(value: float) -> str:
    """One accuracy as a cell."""
    return NOT_AVAILABLE if value == NO_TRUTH else f"{value:.1f}"


def _hop_row(hop: Hop) -> tuple[str, ...]:
    parity = hop.parity
    excused = f" ({parity.excused} ties)" if parity.excused else ""
    return (
        f"{hop.reference} → {hop.candidate}",
        f"{hop.precision} {'FAILED' if hop.failures else 'passed'}",
        _greatest(parity.box_changes, parity.box_intervals),
        _greatest(parity.mask_changes, parity.mask_intervals),
        f"{100 * parity.matched:.2f} %{excused}",
        f"{parity.box_delta_max_px:.3f}",
        f"{parity.score_delta_max:.4f}",
        f"{parity.mask_iou_mean:.4f}" if parity.mask_changes else NOT_AVAILABLE,
    )


def _greatest(changes: Mapping[str, float | None], intervals: Mapping[str, Interval | None]) -> str:
    """The change farthest from zero, with its interval where it has one."""
    known = {name: change for name, change in changes.items() if change is not None}
    if not known:
        return NOT_AVAILABLE
    name = max(known, key=lambda name: abs(known[name]))
    interval = intervals[name]
    ends = "" if interval is None else f" [{interval[0]:+.2f}, {interval[1]:+.2f}]"
    return f"{known[name]:+.2f}{ends}"
