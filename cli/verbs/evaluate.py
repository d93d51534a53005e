"""`maskrt eval`: COCO AP (AR of proposals), and the parity gate against a reference."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..arguments import (
    MODEL_HELP,
    Arguments,
    Result,
    add_data,
    add_verb,
    model,
    read_data,
    required,
)
from ..output import print_tables


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "eval", "COCO AP or AR of a model; with --against, the parity gate", run)
    sub.add_argument("model", type=model, help=MODEL_HELP)
    add_data(sub)
    sub.add_argument("--against", type=model, help="reference model: exit code 1 when a gate fails")


def run(arguments: Arguments) -> Result:
    """Measure, print, and exit with what the gate says."""
    from ...eval import accuracy_tables, hop_tables, to_json
    from ...workflows import evaluate

    data = required(read_data(arguments))
    found = evaluate(arguments.model, data, arguments.against)
    print_tables(accuracy_tables(found.accuracies))
    headroom = None if found.headroom is None else dataclasses.asdict(found.headroom)
    if found.headroom is not None:
        print(found.headroom)
    if found.lost is not None:
        print(found.lost)
    beside = {"headroom": headroom, "lost": found.lost}
    if found.hop is None:
        (accuracy,) = found.accuracies
        return {"box": accuracy.box, "mask": accuracy.mask, **beside}
    print_tables(hop_tables([found.hop]))
    for failure in found.hop.failures:
        print(f"gate failed: {failure}")
    return {**to_json(found.hop), **beside, "exit_code": 1 if found.hop.failures else 0}
