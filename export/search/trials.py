"""Every candidate that a search tries: converted and measured once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from ...runtime.contract import Rest
from ...runtime.errors import ExportError
from ..precision.mixture import GroupPrecision, Mixture, to_mixture
from .journal import Journal
from .verdict import Judge, Verdict

QUANTIZED: tuple[GroupPrecision, ...] = ("int8", "fp8")
SURE = 2 / 3
"""Of resampled picture sets, the share that must hold the gate where INT8 or FP8 is in a choice, so
that a change is refused which these pictures alone forgive. On 200 pictures the tiny networks' AP
scatters by 0.15 to 0.2 points in INT8, however few groups have it: nine of ten sets would refuse
two of three choices that change nothing. FP16 scatters far less."""

Choice = Mapping[str, GroupPrecision]
"""What every group computes in."""


@dataclass(frozen=True)
class Tried:
    """One candidate that was measured on all inputs."""

    choice: Choice
    verdict: Verdict
    passed: bool


class Trials:
    """Judges choices of precision, each once; what the journal knows is not measured again."""

    def __init__(
        self,
        model: onnx.ModelProto,
        judge: Judge,
        ranges: Mapping[str, float],
        journal: Journal,
        say: Callable[[str], None],
        *,
        rest: Rest = "fp16",
        where: str = "",
    ) -> None:
        """Of an FP32 `model`, left alone; `ranges` and `rest` as `Mixture` has them.

        The journal keeps verdicts on several sets of inputs apart by `where`.
        """
        self.model = model
        self.tried: list[Tried] = []
        self._judge = judge
        self._ranges = ranges
        self._journal = journal
        self._say = say
        self._where = where
        self._rest = rest
        self._seen: dict[str, Verdict] = {}
        self._measured = {False: 0, True: 0}
        self._ahead = 0
        self._seconds: dict[bool, list[float]] = {False: [], True: []}

    @property
    def evaluations(self) -> int:
        """Candidates that ran on all inputs, in this run or in one before it."""
        return self._measured[False]

    @property
    def few_evaluations(self) -> int:
        """Candidates that ran on a few inputs."""
        return self._measured[True]

    def expect(self, count: int) -> None:
        """That so many candidates may follow, for what is said of the time left."""
        self._ahead = count

    def passes(self, choice: Choice) -> bool:
        """Whether it holds the gate, and surely where it has INT8 or FP8 in it."""
        return _holds(choice, self.verdict(choice))

    def verdict(self, choice: Choice, *, few: bool = False) -> Verdict:
        """What the judge says of it."""
        name = _name(choice, few, self._where)
        if name not in self._seen:
            self._seen[name] = self._new(choice, name, few)
            if not few:
                verdict = self._seen[name]
                self.tried.append(Tried(choice, verdict, _holds(choice, verdict)))
        return self._seen[name]

    def mixed(self, choice: Choice) -> onnx.ModelProto:
        """The typed model of a choice; ExportError where a weight does not fit."""
        return self.typed(self.model, choice)

    def typed(self, model: onnx.ModelProto, choice: Choice) -> onnx.ModelProto:
        """The same of another model with the same groups and tensors."""
        return to_mixture(model, self.mixture(choice))

    def mixture(self, choice: Choice) -> Mixture:
        """A choice as an export takes it."""
        return Mixture(dict(choice), self._rest, self._ranges)

    def _new(self, choice: Choice, name: str, few: bool) -> Verdict:
        self._ahead = max(0, self._ahead - 1)
        try:
            mixed = self._alone(choice) if few else self.mixed(choice)
        except ExportError as err:  # a weight beyond half range, known without running anything
            return Verdict(passed=False, figures={}, reason=str(err).split(";")[0])
        self._measured[few] += 1
        verdict = self._journal.known.get(name)
        if verdict is None:
            started = time.monotonic()
            verdict = self._judge(mixed, few=few)
            self._seconds[few].append(time.monotonic() - started)
            self._journal.add(name, verdict)
            self._tell(choice, verdict, few)
        return verdict

    def _alone(self, choice: Choice) -> onnx.ModelProto:
        """A choice with FP32 around it, so that what it changes is all its own."""
        return to_mixture(self.model, Mixture(dict(choice), "fp32", self._ranges))

    def _tell(self, choice: Choice, verdict: Verdict, few: bool) -> None:
        done = f"moved {verdict.moved:.4f}" if few and verdict.figures else str(verdict)
        if not few:
            done += ", passes" if _holds(choice, verdict) else _unsure(verdict) + ", fails"
        took = self._seconds[few]
        left = sum(took) / len(took) * self._ahead
        more = f"; at most {self._ahead} more, {_about(left)}" if self._ahead and left > 2 else ""
        self._say(f"{sum(self._measured.values())}: {in_words(choice)}: {done}{more}")


def in_words(choice: Choice) -> str:
    """How many groups compute in what, as "30 of 32 FP16, 2 FP32"; one alone by its name."""
    counts = Counter(choice.values())
    (most, _), *others = counts.most_common()
    alone = [name for name, precision in choice.items() if precision != most]
    if len(alone) == 1 and len(choice) > 2:
        return f"{alone[0]} in {choice[alone[0]].upper()}, the others in {most.upper()}"
    first = f"{counts[most]} of {len(choice)} groups in {most.upper()}"
    return ", ".join([first, *(f"{count} in {name.upper()}" for name, count in others)])


def _holds(choice: Choice, verdict: Verdict) -> bool:
    is_sure = verdict.sure >= SURE or not set(QUANTIZED) & set(choice.values())
    return verdict.passed and is_sure


def _unsure(verdict: Verdict) -> str:
    if not verdict.passed or verdict.sure >= SURE:
        return ""
    return f", but only {verdict.sure:.0%} of resampled sets hold the gate"


def _name(choice: Choice, few: bool, where: str) -> str:
    """The same for the same choice: groups by precision, the commonest left out."""
    by_precision: dict[str, list[str]] = {}
    for group, precision in sorted(choice.items()):
        by_precision.setdefault(precision, []).append(group)
    most = max(by_precision, key=lambda precision: (len(by_precision[precision]), precision))
    others = {p: names for p, names in by_precision.items() if p != most}
    named = {"few": few, "others": others, "rest": most}
    return json.dumps(named | ({"where": where} if where else {}), sort_keys=True)


def _about(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds > 90 else f"about {seconds:.0f} s"
