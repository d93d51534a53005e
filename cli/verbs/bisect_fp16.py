"""`maskrt bisect`: which node groups of a checkpoint must stay FP32."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import Arguments, Result, add_data, add_verb, read_data, required
from ..output import say

if TYPE_CHECKING:
    from ...workflows.bisection import Bisection


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "which node groups must stay FP32, judged on 20 pictures or --first"
    sub = add_verb(verbs, "bisect", text, run)
    sub.add_argument("checkpoint", type=Path, help="or its FP32 export: .onnx or a bundle's folder")
    add_data(sub)
    sub.set_defaults(first=20)
    sub.add_argument(
        "--metric",
        choices=["instances", "ap"],
        default="instances",
        help="matched instances (default), or change of AP; of proposals, AR",
    )
    sub.add_argument(
        "--gate",
        type=float,
        help="least matched share (default 0.98), or greatest change in points (0.3)",
    )
    sub.add_argument("-o", "--out", type=Path, required=True, help=".json for export --keep-fp32")


def run(arguments: Arguments) -> Result:
    """Search, and print what was found."""
    from ...workflows import bisect_precision

    data = required(read_data(arguments))
    done = bisect_precision(
        arguments.checkpoint, arguments.out, data, arguments.metric, arguments.gate, on_step=say
    )
    _print(done)
    found = done.found
    return {
        "precision_file": str(done.precision_file),
        "groups": list(found.costs),
        "before": dataclasses.asdict(found.before),
        "after": dataclasses.asdict(found.after),
        "fp16_mac_share": found.fp16_mac_share,
        "evaluations": found.evaluations,
        "seconds": done.seconds,
    }


def _print(done: Bisection) -> None:
    found = done.found
    verdict = "passes" if found.before.passed else "fails"
    print(f"FP16: {found.before}, gate {done.gate:g}: {verdict}")
    if found.costs:
        print(f"with {len(found.costs)} of {found.groups} node groups in FP32: {found.after}")
    for name, cost in found.costs.items():
        print(
            f"  {name} ({cost.mac_share:.1%} of MACs): put back to FP16: {cost.put_back}; "
            f"alone in FP16: {cost.only_fp16}; alone in FP32: {cost.only_fp32}"
        )
    kept = f"{len(found.costs)} node groups stay FP32" if found.costs else "no group needs FP32"
    print(
        f"{done.precision_file}: {kept}, {found.fp16_mac_share:.1%} of MACs in FP16; "
        f"evaluations: {found.evaluations}, {done.seconds:.0f} s"
    )
