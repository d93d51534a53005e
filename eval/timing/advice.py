"""Which of the timed sessions someone without a GPU should use, as one sentence per network.

Where accuracy was measured in the same call, the fastest row that loses no more than the FP16 gate
against the most accurate one; no row where none finds anything. Where it was not, the fastest of
those in the first row's precision: nothing is known about what another precision costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..coco.accuracy import GATED, Accuracy
from ..parity.gates import CHANGE_GATE
from .latency import BackendLatency, Bench

LOSS_ALLOWED = CHANGE_GATE["fp16"]


def recommendations(result: Bench, accuracies: Sequence[Accuracy]) -> tuple[str, ...]:
    """One sentence for every network and batch size of which at least two rows were timed."""
    known = {(accuracy.sha256, accuracy.name): accuracy for accuracy in accuracies}
    rows = sorted(result.backends, key=_network)  # stable: the first row stays first
    groups = [list(group) for _, group in groupby(rows, key=_network)]
    pairs = [(group, [known.get((row.sha256, row.name)) for row in group]) for group in groups]
    return tuple(
        _sentence(group, found) for group, found in pairs if len(group) > 1 and not _useless(found)
    )


def _useless(accuracies: Sequence[Accuracy | None]) -> bool:
    """Whether all were measured and none of them finds anything."""
    best = [
        max(values[one.headline] for values in one.kinds.values())
        for one in accuracies
        if one is not None
    ]
    return len(best) == len(accuracies) and max(best) <= 0.0


def _network(row: BackendLatency) -> tuple[str, int]:
    return row.variant, row.batch


def _sentence(rows: Sequence[BackendLatency], accuracies: Sequence[Accuracy | None]) -> str:
    measured = [accuracy for accuracy in accuracies if accuracy is not None]
    if len(measured) == len(rows):
        losses = [_loss(accuracy, measured) for accuracy in measured]
        # rounding must not decide on a row exactly at the gate
        allowed = [
            row for row, loss in zip(rows, losses, strict=True) if loss <= LOSS_ALLOWED + 1e-9
        ]
        why = f"at most {LOSS_ALLOWED} points below the most accurate"
    else:
        allowed = [row for row in rows if row.precision == rows[0].precision]
        why = f"of those in {rows[0].precision.upper()}; accuracy was not measured"
    best = min(allowed, key=lambda row: row.summaries["pipeline"].p50_ms)
    batch = "" if best.batch == 1 else f" at batch {best.batch}"
    return (
        f"On this CPU pick {best.name} ({best.backend}) for {best.variant}{batch}: "
        f"{best.summaries['pipeline'].p50_ms / best.batch:.1f} ms a picture, the fastest {why}."
    )


def _loss(accuracy: Accuracy, all_measured: Sequence[Accuracy]) -> float:
    """Points below the best of the others, in the number where it is farthest below."""
    names = GATED[accuracy.metric]
    losses: list[float] = []
    for kind, values in accuracy.kinds.items():
        best = {n: max(other.kinds[kind][n] for other in all_measured) for n in names}
        losses += [best[name] - values[name] for name in names]
    return max(losses)
