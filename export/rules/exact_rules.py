"""Exact rules: rewrites of an exported graph that change no result, applied before precision.

A rule is a module of its own that opens with its mathematics, and one function: for each place of a
graph where it might act it yields the nodes that take the place of others, or why it does not act
there. So `maskrt export` can say of each rule what it did, or why not. A new one is added to RULES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import shape_inference

from ...runtime.errors import InputError
from ..operators.local_functions import add_functions
from ..operators.roi_align import ROI_ALIGN
from ..typed_graph import Replacement, TypedGraph
from .even_bins import even_bins

ExactRule = Callable[[TypedGraph], Iterator[Replacement | str]]

RULES: dict[str, ExactRule] = {"even_bins": even_bins}
"""In the order in which they are applied."""
DEFAULT_RULES = tuple(RULES)


@dataclass(frozen=True)
class Outcome:
    """What became of one rule."""

    rule: str
    rewritten: int
    """Places where it acted."""
    reasons: tuple[str, ...]
    """Why it did not act at others, each reason once."""

    def __str__(self) -> str:
        """One line for people."""
        done = f"rewrote {self.rewritten} place{'' if self.rewritten == 1 else 's'}"
        left = "; ".join(self.reasons)
        parts = [done] * bool(self.rewritten) + [f"not applied: {left}"] * bool(left)
        return f"exact rewrite {self.rule}: {', '.join(parts)}"


def rule_names(text: str) -> tuple[str, ...]:
    """The rules that a command line asks for: `all`, `none`, or names with commas between.

    Raises:
        InputError: a name that no rule has.

    """
    known: dict[str, tuple[str, ...]] = {"all": tuple(RULES), "none": ()}
    names = known.get(text, tuple(name.strip() for name in text.split(",")))
    require_rules(names)
    return names


def require_rules(names: Iterable[str]) -> None:
    """Refuse a name that no rule has.

    Raises:
        InputError: there is such a name.

    """
    for name in names:
        if name not in RULES:
            raise InputError(
                f"--rules: '{name}' found; expected all, none or some of {', '.join(RULES)} with"
                " commas between. Correct the name."
            )


def apply_rules(
    model: onnx.ModelProto, names: Sequence[str] = DEFAULT_RULES
) -> tuple[onnx.ModelProto, tuple[Outcome, ...]]:
    """Apply the named rules to an FP32 model.

    Args:
        model: static shapes, `maskrt` nodes with or without their functions; left alone.
        names: of RULES, in any order: they are applied in the order of RULES.

    Returns:
        The rewritten model, `maskrt` nodes with functions and shapes inferred, and one outcome
        for each of RULES.

    Raises:
        InputError: a name that no rule has.

    """
    require_rules(names)
    outcomes = []
    model = add_functions(model)
    for name, rule in RULES.items():
        outcome = Outcome(name, 0, ("not asked for",))
        if name in names:
            model, outcome = _apply(name, rule, model)
        outcomes.append(outcome)
    return shape_inference.infer_shapes(model, data_prop=True), tuple(outcomes)


def _apply(name: str, rule: ExactRule, model: onnx.ModelProto) -> tuple[onnx.ModelProto, Outcome]:
    """One rule at every place where it acts."""
    found = list(rule(TypedGraph(model)))
    reasons = [one for one in found if isinstance(one, str)]
    replacements = [one for one in found if not isinstance(one, str)]
    if not found:
        reasons = [f"the network has no {ROI_ALIGN}"]
    outcome = Outcome(name, len(replacements), tuple(dict.fromkeys(reasons)))
    return _replaced(model, {i: n for one in replacements for i, n in one.items()}), outcome


def _replaced(model: onnx.ModelProto, nodes: Replacement) -> onnx.ModelProto:
    """The model with other nodes at some indices, and no shape that may be wrong now."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stale = {name for index in nodes for name in model.graph.node[index].output}
    kept = [value for value in model.graph.value_info if value.name not in stale]
    del result.graph.value_info[:]
    result.graph.value_info.extend(kept)
    for index, node in nodes.items():
        result.graph.node[index].CopyFrom(node)
    return add_functions(result)  # writes the attributes for plugins anew
