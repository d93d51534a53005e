"""The fastest precision of every node group that holds a gate, found by trying.

    FP32 model -> to_mixture(choice) -> every tensor rounded as its file says -> the verdict

With every group at its fastest first: where that passes it is the answer. Else the precisions are
gone through from the slowest, and each step begins at what passed before it:

- **FP16** loses in few groups, and sharply. A whole branch of module paths goes down at once where
  the gate still passes, else each half of it by itself: k culprits among n groups cost about
  2 k log2 n evaluations (hierarchical delta debugging, Misherghi and Su 2006, taken from the
  passing side). With FP32 and FP16 alone that is `maskrt bisect`.
- **INT8 and FP8** lose a little in many groups: a knapsack of milliseconds gained under a gate.
  Each group is measured alone, on a few inputs, by how far the results move; ordered by that per
  millisecond gained, the first that the gate allows go down. Losses do not add up and most are
  below an AP's noise, so the bound is the verdict on the whole, not a sum of measured losses, and
  how far the order may be followed is found by halving, as above. Dantzig's order (1957) is at most
  one group from the knapsack's optimum, and the last pass tries every group that is left.

What stands at a step's end passes, whether or not verdicts are monotone. A branch that gains less
than `WORTH` of the time is not tried further.

Precision lives in the file, so what is found holds for every strongly typed TensorRT; no engine
and no GPU is needed to find it. The metric is a callable: this folder measures no accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...runtime.contract import Rest
from ...runtime.errors import GateError
from ..precision.groups import Group, Kept
from ..precision.mixture import GroupPrecision
from .times import Times
from .trials import QUANTIZED, Choice, Trials, Tried, in_words
from .verdict import Verdict

SLOWEST_FIRST: tuple[GroupPrecision, ...] = ("fp32", "fp16", "int8", "fp8")
WORTH = 0.005
"""Of the predicted time: what a branch must gain to be tried."""


@dataclass(frozen=True)
class Cost:
    """What keeps one group above the fastest precision it could have."""

    wanted: GroupPrecision
    """The next faster one, which it could not have."""
    put_back: Verdict | None
    """The result with this group in it: fails. None where it was not tried: it overflows, or would
    have gained next to nothing."""
    alone: Verdict
    """This group in it and every other in FP32, on a few inputs."""
    mac_share: float
    """Its part of all layers' multiply-accumulates, 0..1."""


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    choice: Choice
    """What every group computes in."""
    verdict: Verdict
    fastest: Verdict
    """Every group at the fastest precision that it can have."""
    costs: dict[str, Cost]
    """The groups that are not, and those that overflow FP16, by name."""
    alone: dict[str, dict[str, Verdict]]
    """By group and precision, what it does alone, where that was measured on a few inputs."""
    mac_shares: dict[str, float]
    """By precision, its part of the groups' multiply-accumulates, 0..1."""
    tried: tuple[Tried, ...]
    """What was measured on all inputs, in order."""
    evaluations: int
    few_evaluations: int


def find_mixture(
    trials: Trials,
    tree: Group,
    levels: Sequence[GroupPrecision],
    able: Mapping[GroupPrecision, Kept] = {},
    times: Times | None = None,
    overflowing: Kept = frozenset(),
) -> Found:
    """Search for the fastest choice that passes.

    Args:
        trials: of the FP32 model, with its judge.
        tree: its groups.
        levels: precisions that may be chosen, of `SLOWEST_FIRST` in that order, two or more.
        able: by INT8 and FP8, the groups that it can take.
        times: of groups; needed where INT8 or FP8 is among the levels.
        overflowing: groups whose values FP16 does not hold. They stay FP32 whatever the verdicts
            say: an infinity that an INT8 reader clips, or a mask hides, is one all the same.

    Raises:
        GateError: not even the slowest precision passes, or only it does; or groups overflow and
            FP32 is not among the levels.
        ExportError: the model cannot be converted.
    """
    if overflowing and levels[0] != "fp32":
        raise GateError(
            f"{trials.model.graph.name}: values beyond 65,504 in {', '.join(sorted(overflowing))}; "
            "expected all to fit into FP16 where FP32 may not be chosen. Add fp32 to --precisions."
        )
    search = _Search(trials, tree, tuple(levels), able, times, overflowing)
    choice = search.best(search.levels)
    choice = search.not_slower(choice)
    if set(choice.values()) == {levels[0]} and levels[0] == "fp32":
        raise GateError(
            f"{trials.model.graph.name}: only with all {len(choice)} node groups in FP32 does the "
            f"gate pass ({trials.verdict(choice)}; {search.told_fastest()}), so nothing is gained. "
            "Export in FP32, or allow more with --gate."
        )
    return search.found(choice)


def uniform(
    tree: Group,
    levels: Sequence[GroupPrecision],
    level: GroupPrecision,
    able: Mapping[GroupPrecision, Kept],
) -> Choice:
    """Every group in one precision, and what cannot have it in that of the rest."""
    names = sorted(tree.names)
    if level not in QUANTIZED:
        return dict.fromkeys(names, level)
    rest = rest_of(levels)
    return {name: level if name in able[level] else rest for name in names}


def rest_of(levels: Sequence[GroupPrecision]) -> Rest:
    """What computes around INT8 and FP8."""
    return "fp16" if "fp16" in levels else "fp32"


class _Search:
    def __init__(
        self,
        trials: Trials,
        tree: Group,
        levels: tuple[GroupPrecision, ...],
        able: Mapping[GroupPrecision, Kept],
        times: Times | None,
        overflowing: Kept,
    ) -> None:
        self.overflowing = overflowing
        self.trials, self.tree, self.levels, self.able, self.times = (
            trials, tree, levels, able, times,
        )  # fmt: skip
        self.rest = rest_of(levels)
        self.alone: dict[str, dict[str, Verdict]] = {}

    def best(self, levels: tuple[GroupPrecision, ...]) -> Choice:
        """The fastest choice of these precisions that passes."""
        fastest = self.fastest(levels)
        if len(levels) == 1:
            return self.required(fastest)
        if self.trials.passes(fastest):
            return fastest
        return self.lowered(self.best(levels[:-1]), levels[-1])

    def fastest(self, levels: Sequence[GroupPrecision]) -> Choice:
        """Every group at the fastest precision that it can have."""
        choice: dict[str, GroupPrecision] = dict.fromkeys(sorted(self.tree.names), levels[0])
        for precision in levels[1:]:
            choice |= dict.fromkeys(self.candidates(choice, precision), precision)
        return choice

    def candidates(self, choice: Choice, precision: GroupPrecision) -> list[str]:
        """The groups that could go down to a precision.

        INT8 and FP8 hand their result over in the precision of the rest, so a group that stays
        FP32 beside FP16 stays out of them.
        """
        if precision not in QUANTIZED:
            return [name for name in choice if name not in self.overflowing]
        return [
            name
            for name, now in choice.items()
            if name in self.able[precision] and now in (self.rest, *QUANTIZED)
            if self.gain(choice, [name], precision) > 0
        ]

    def gain(self, choice: Choice, names: Sequence[str], precision: GroupPrecision) -> float:
        """Milliseconds that some groups lose by going down; infinite where no time is known."""
        if self.times is None:
            return math.inf
        by_group = self.times.by_group
        return sum(by_group[name][choice[name]] - by_group[name][precision] for name in names)

    def required(self, choice: Choice) -> Choice:
        """The slowest choice, once that has passed."""
        if self.trials.passes(choice):
            return choice
        slowest = self.levels[0]
        remedy = (
            "so no choice of precisions repairs it. Allow more with --gate, or check the model "
            "with maskrt eval"
            if slowest == "fp32"
            else "so groups of it need FP32. Add fp32 to --precisions"
        )
        raise GateError(
            f"{self.trials.model.graph.name}: {self.trials.verdict(choice)} with every node group "
            f"in {slowest.upper()}, and that fails the gate; expected {slowest.upper()} to pass, "
            f"{remedy}."
        )

    def lowered(self, choice: Choice, precision: GroupPrecision) -> Choice:
        """A passing choice with as many groups as pass in a faster precision."""
        names = self.candidates(choice, precision)
        if not names:
            return choice
        quantized = precision in QUANTIZED
        groups = self.ranked(choice, names, precision) if quantized else (self.tree,)
        self.trials.expect(2 * len(names))
        return self.minimal(self.shrunk(choice, groups, precision), names, precision)

    def ranked(
        self, choice: Choice, names: list[str], precision: GroupPrecision
    ) -> tuple[Group, ...]:
        """Groups in the knapsack's order: least moved per millisecond gained first."""
        self.trials.expect(len(names))
        order = {
            name: self.only(name, precision).moved / self.gain(choice, [name], precision)
            for name in names
        }
        ordered = sorted(names, key=lambda name: (order[name], name))
        return tuple(Group(frozenset({name}), self.tree.macs_of(name)) for name in ordered)

    def only(self, name: str, precision: GroupPrecision) -> Verdict:
        """One group in a precision and every other in FP32, on a few inputs."""
        known = self.alone.setdefault(name, {})
        if precision not in known:
            choice = dict.fromkeys(sorted(self.tree.names), SLOWEST_FIRST[0])
            known[precision] = self.trials.verdict(choice | {name: precision}, few=True)
        return known[precision]

    def shrunk(
        self, choice: Choice, groups: tuple[Group, ...], precision: GroupPrecision
    ) -> Choice:
        """`choice` with what can go down of `groups`, all at once or half by half."""
        names = [name for group in groups for name in group.names - self.overflowing]
        if not names or not self.is_worth(choice, names, precision):
            return choice
        lower = {**choice, **dict.fromkeys(names, precision)}
        if self.trials.passes(lower):
            return lower
        if len(groups) == 1:
            parts = groups[0].parts
            return self.shrunk(choice, parts, precision) if parts else choice
        middle = len(groups) // 2
        for half in (groups[:middle], groups[middle:]):
            choice = self.shrunk(choice, half, precision)
        return choice

    def minimal(self, choice: Choice, names: list[str], precision: GroupPrecision) -> Choice:
        """`choice` once no single group of these can go down any more."""
        left = [name for name in names if choice[name] != precision]
        for name in sorted(left, key=lambda name: (-self.gain(choice, [name], precision), name)):
            lower = {**choice, name: precision}
            if self.is_worth(choice, [name], precision) and self.trials.passes(lower):
                return self.minimal(lower, names, precision)
        return choice

    def is_worth(self, choice: Choice, names: list[str], precision: GroupPrecision) -> bool:
        """Whether some groups would gain enough to be tried."""
        if self.times is None:
            return True
        total = sum(self.times.by_group[name][now] for name, now in choice.items())
        return self.gain(choice, names, precision) >= WORTH * total

    def not_slower(self, choice: Choice) -> Choice:
        """The choice, or where its file is predicted slower than one without INT8 and FP8, that."""
        plain = tuple(level for level in self.levels if level not in QUANTIZED)
        if self.times is None or not plain or plain == self.levels:
            return choice
        if self.times.total(choice) <= self.times.total(self.fastest(plain)):
            return choice
        return self.best(plain)

    def told_fastest(self) -> str:
        fastest = self.fastest(self.levels)
        return f"{in_words(fastest)}: {self.trials.verdict(fastest)}"

    def found(self, choice: Choice) -> Found:
        fastest = self.fastest(self.levels)
        costs = {
            name: self.cost(choice, name)
            for name in sorted(choice)
            if choice[name] != fastest[name] or name in self.overflowing
        }
        shares: dict[str, float] = {
            level: sum(self.tree.macs_of(name) for name in choice if choice[name] == level)
            / max(self.tree.macs, 1)
            for level in self.levels
        }
        return Found(
            choice=choice,
            verdict=self.trials.verdict(choice),
            fastest=self.trials.verdict(fastest),
            costs=costs,
            alone=self.alone,
            mac_shares=shares,
            tried=tuple(self.trials.tried),
            evaluations=self.trials.evaluations,
            few_evaluations=self.trials.few_evaluations,
        )

    def cost(self, choice: Choice, name: str) -> Cost:
        wanted = self.levels[self.levels.index(choice[name]) + 1]
        lower = {**choice, name: wanted}
        is_tried = name not in self.overflowing and self.is_worth(choice, [name], wanted)
        return Cost(
            wanted=wanted,
            put_back=self.trials.verdict(lower) if is_tried else None,
            alone=self.only(name, wanted),
            mac_share=self.tree.macs_of(name) / max(self.tree.macs, 1),
        )
