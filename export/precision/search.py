"""Which node groups must stay FP32, found by search: the smallest repair of an FP16 export.

    FP32 model -> to_fp16(kept groups) -> every FP16 value rounded -> the metric's verdict

Groups are the tree of module paths (groups.py). The search starts with all of them FP32, which is
the reference itself, and puts back to FP16 what it can: a whole branch at once where the gate still
passes, else each half of it by itself. So the set that is kept passes at every step, whether or not
verdicts are monotone, and k culprits among n groups cost about 2 k log2 n evaluations (hierarchical
delta debugging, Misherghi and Su 2006, taken from the passing side). A last pass puts every group
that is left back by itself: none can go.

Precision lives in the file, so what is found holds for every strongly typed TensorRT; no engine
and no GPU is needed to find it. The metric is a callable: this folder measures no accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx

from ...runtime.errors import ExportError, GateError
from ..macs import graph_macs
from .emulation import emulated
from .fp16 import to_fp16
from .groups import Group, Kept, group_tree


@dataclass(frozen=True)
class Verdict:
    """What a metric says of one model."""

    passed: bool
    figures: dict[str, float]
    """By name, the one that the gate is on first; empty where nothing could be measured."""
    reason: str = ""
    """Why nothing could be measured."""

    def __str__(self) -> str:
        """The gated figure, or why there is none."""
        if not self.figures:
            return self.reason
        name, value = next(iter(self.figures.items()))
        return f"{name} {value:.4f}"


Measure = Callable[[onnx.ModelProto], Verdict]
"""Judges a model of FP32 types in which every FP16 value is rounded (emulation.py)."""


@dataclass(frozen=True)
class Cost:
    """What one group that stays FP32 does to the metric."""

    put_back: Verdict
    """This one in FP16, the rest of the result as it is: fails, or the group would not be here."""
    only_fp16: Verdict
    """This one in FP16, every other in FP32."""
    only_fp32: Verdict
    """This one in FP32, every other in FP16."""
    mac_share: float
    """Its part of all layers' multiply-accumulates, 0..1."""


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    costs: dict[str, Cost]
    """The groups that stay FP32, by name; empty where FP16 passes as it is."""
    before: Verdict
    """All groups in FP16."""
    after: Verdict
    """The found ones in FP32."""
    fp16_mac_share: float
    """Part of the layers' multiply-accumulates that stays FP16, 0..1."""
    groups: int
    """How many groups there are."""
    evaluations: int
    """Candidates that the metric ran."""


def find_groups(
    model: onnx.ModelProto, measure: Measure, say: Callable[[str], None] = lambda _: None
) -> Found:
    """Search for groups without which FP16 fails its gate and with which it passes.

    Args:
        model: FP32 with its contract, as `export` writes it; left alone.
        measure: the metric and its gate; called once per set of groups.
        say: takes one line per evaluation.

    Returns:
        The groups, none of which can go back to FP16 alone, and what each costs.

    Raises:
        GateError: not even FP32 passes, or only FP32 as a whole does.
        ExportError: the model cannot be converted.

    """
    tree = group_tree(model)
    trials = _Trials(model, measure, say, total=len(tree.names))
    before = trials.verdict(frozenset())
    kept: Kept = frozenset()
    if not before.passed:
        kept = _minimal(trials, _shrunk(trials, _all_fp32(trials, tree), (tree,)))
    if kept and kept == tree.names:
        raise GateError(
            f"{model.graph.name}: only with all {len(kept)} node groups in FP32 does the gate "
            f"pass ({trials.verdict(kept)}, in FP16 {before}), so FP16 gains nothing. Export in "
            "FP32, or allow more with --gate."
        )
    costs = {name: _cost(trials, tree, kept, name) for name in sorted(kept)}
    share = graph_macs(to_fp16(model, sorted(kept))).half_layer_share
    return Found(
        costs, before, trials.verdict(kept), share, len(tree.names), evaluations=trials.measured
    )


@dataclass
class _Trials:
    """Every set of kept groups that was tried, each converted and measured once."""

    model: onnx.ModelProto
    measure: Measure
    say: Callable[[str], None]
    total: int
    measured: int = 0
    known: dict[Kept, Verdict] = field(default_factory=dict)

    def passes(self, kept: Kept) -> bool:
        return self.verdict(kept).passed

    def verdict(self, kept: Kept) -> Verdict:
        if kept not in self.known:
            self.known[kept] = self._run(kept)
        return self.known[kept]

    def _run(self, kept: Kept) -> Verdict:
        try:
            half = to_fp16(self.model, sorted(kept))
        except ExportError as err:  # a weight beyond half range, known without running anything
            return Verdict(passed=False, figures={}, reason=str(err).split(";")[0])
        self.measured += 1
        verdict = self.measure(emulated(half))
        done = "passes" if verdict.passed else "fails"
        self.say(f"{self.measured}: {len(kept)} of {self.total} in FP32: {verdict}, {done}")
        return verdict


def _all_fp32(trials: _Trials, tree: Group) -> Kept:
    """Every group, once that has passed."""
    verdict = trials.verdict(tree.names)
    if not verdict.passed:
        raise GateError(
            f"{trials.model.graph.name}: {verdict} with every node group in FP32, and that fails "
            "the gate; expected FP32 to pass, so no set of groups repairs FP16. Allow more with "
            "--gate, or check the checkpoint with maskrt eval."
        )
    return tree.names


def _shrunk(trials: _Trials, kept: Kept, groups: tuple[Group, ...]) -> Kept:
    """`kept` without what can go of `groups`, all at once or half by half."""
    fewer = kept.difference(*(group.names for group in groups))
    if trials.passes(fewer):
        return fewer
    if len(groups) == 1:
        return _shrunk(trials, kept, groups[0].parts) if groups[0].parts else kept
    middle = len(groups) // 2
    for half in (groups[:middle], groups[middle:]):
        kept = _shrunk(trials, kept, half)
    return kept


def _minimal(trials: _Trials, kept: Kept) -> Kept:
    """`kept` once no single group of it can go any more."""
    for name in sorted(kept):
        if trials.passes(kept - {name}):
            return _minimal(trials, kept - {name})
    return kept


def _cost(trials: _Trials, tree: Group, kept: Kept, name: str) -> Cost:
    alone = frozenset({name})
    return Cost(
        put_back=trials.verdict(kept - alone),
        only_fp16=trials.verdict(tree.names - alone),
        only_fp32=trials.verdict(alone),
        mac_share=tree.macs_of(name) / max(tree.macs, 1),
    )
