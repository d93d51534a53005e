"""Exact rewrites of an exported graph: small named rules, applied to FP32 before precision.

A rule is a file of its own that opens with its mathematics and has three functions: `pattern`
lists the places where it might act, `check` says why it does not act at one of them, and `rewrite`
says what takes the place. So `maskrt export` can say of each rule what it did, or why not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx
from onnx import shape_inference

from ...runtime.errors import InputError
from ..operators.local_functions import add_functions
from ..operators.roi_align import ROI_ALIGN
from . import even_bins
from .pooled_graph import PooledGraph, Replacement, Site


class Rule(Protocol):
    """What the file of a rule offers."""

    def pattern(self, graph: PooledGraph) -> list[Site]:
        """The places where the rule might act; no two share a node."""
        ...

    def check(self, graph: PooledGraph, site: Site) -> str:
        """Why the rule does not act there; "" where it does."""
        ...

    def rewrite(self, graph: PooledGraph, site: Site) -> Replacement:
        """What takes the place of the nodes there."""
        ...


RULES: dict[str, Rule] = {"even_bins": even_bins}
"""In the order in which they are applied."""
ALL_RULES = tuple(RULES)
DEFAULT_RULES = ("even_bins",)


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
        parts = [done] * bool(self.rewritten) + [f"left out: {left}"] * bool(left)
        return f"{self.rule}: {', '.join(parts)}"


def rule_names(text: str) -> tuple[str, ...]:
    """The rules that a command line asks for: `all`, `none`, or names with commas between.

    Raises:
        InputError: a name that no rule has.

    """
    known: dict[str, tuple[str, ...]] = {"all": ALL_RULES, "none": ()}
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


def _apply(name: str, rule: Rule, model: onnx.ModelProto) -> tuple[onnx.ModelProto, Outcome]:
    """One rule at every place where its check lets it act."""
    graph = PooledGraph(model)
    reasons = {site: rule.check(graph, site) for site in rule.pattern(graph)}
    sites = [site for site, reason in reasons.items() if not reason]
    refused = tuple(dict.fromkeys(reason for reason in reasons.values() if reason))
    if not reasons:
        refused = (f"the network has no {ROI_ALIGN}",)
    replacement: Replacement = {}
    for site in sites:
        replacement |= rule.rewrite(graph, site)
    return _replaced(model, replacement), Outcome(name, len(sites), refused)


def _replaced(model: onnx.ModelProto, nodes: Replacement) -> onnx.ModelProto:
    """The model with other nodes at some indices, and no shape that may be wrong now."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    old = list(model.graph.node)
    stale = {name for index in nodes for name in old[index].output}
    kept = [value for value in model.graph.value_info if value.name not in stale]
    del result.graph.node[:], result.graph.value_info[:]
    for index, node in enumerate(old):
        result.graph.node.extend(nodes.get(index, [node]))
    result.graph.value_info.extend(kept)
    return add_functions(result)  # writes the attributes for plugins anew
