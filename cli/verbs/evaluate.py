"""`maskrt eval`: COCO AP (AR of proposals), and the parity gate against a reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import (
    MODEL_HELP,
    Arguments,
    Result,
    add_data,
    add_parts,
    add_tiles,
    add_verb,
    model,
    ray_options,
    read_data,
    required,
    told_shard,
)
from ..output import print_tables, progress_bar

if TYPE_CHECKING:
    from ...eval import CocoData
    from ...workflows.explanation import Explanation
    from ...workflows.measure import Evaluation


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "eval", "COCO AP or AR of a model; with --against, the parity gate", run)
    sub.add_argument("model", type=model, help=MODEL_HELP)
    add_data(sub)
    sub.add_argument("--against", type=model, help="reference model: exit code 1 when a gate fails")
    sub.add_argument(
        "--explain",
        type=Path,
        metavar="DIR",
        help="with --against: what moved most, drawn into DIR, and where the graphs part",
    )
    sub.add_argument(
        "--boundary",
        action="store_true",
        help="AP by boundary IoU too: rough edges cost large objects as well",
    )
    sub.add_argument(
        "--lvis",
        action="store_true",
        help="LVIS's federated AP too, and that of rare, common and frequent classes",
    )
    add_tiles(sub)
    add_parts(sub)
    sub.add_argument("--out", type=Path, metavar="DIR", help="of --shard, --merge and --ray")


def run(arguments: Arguments) -> Result:
    """Measure, print, and exit with what the gate says."""
    from ...eval import accuracy_tables, hop_tables, to_json

    data = required(read_data(arguments))
    if arguments.shard is not None:
        return _shard(arguments, data)
    found = _evaluated(arguments, data)
    print_tables(accuracy_tables(found.accuracies))
    headroom = None if found.headroom is None else dataclasses.asdict(found.headroom)
    if found.headroom is not None:
        print(found.headroom)
    if found.lost is not None:
        print(found.lost)
    beside: dict[str, Any] = {"headroom": headroom, "lost": found.lost}
    if found.hop is None:
        (accuracy,) = found.accuracies
        values = {"box": accuracy.box, "mask": accuracy.mask, "evaluator": accuracy.evaluator}
        more = {name: getattr(accuracy, name) for name in ("boundary", "lvis")}
        return {**values, **{name: found for name, found in more.items() if found}, **beside}
    print_tables(hop_tables([found.hop]))
    for failure in found.hop.failures:
        print(f"gate failed: {failure}")
    if found.explanation is not None:
        beside["explanation"] = _told(found.explanation)
    return {**to_json(found.hop), **beside, "exit_code": 1 if found.hop.failures else 0}


def _told(explanation: Explanation) -> dict[str, Any]:
    """Print it; gives what JSON holds."""
    print_tables([explanation.table])
    for path in explanation.pictures:
        print(f"  {path}")
    print(explanation.graphs)
    found = dataclasses.asdict(explanation)
    del found["table"]
    return found


def _evaluated(arguments: Arguments, data: CocoData) -> Evaluation:
    """By this process, by a cluster, or by the parts that are there."""
    if arguments.ray is not None:
        from ...workflows import evaluate_on_ray

        out, options = _out(arguments), ray_options(arguments)
        with progress_bar() as tell:
            return evaluate_on_ray(arguments.model, data, out, options, tell)
    if arguments.merge:
        from ...workflows import merge_evaluation

        return merge_evaluation(arguments.model, data, _out(arguments))
    from ...workflows import evaluate

    return evaluate(
        arguments.model,
        data,
        arguments.against,
        arguments.explain,
        arguments.boundary,
        arguments.lvis,
        arguments.tiles,
        arguments.tile_overlap,
    )


def _shard(arguments: Arguments, data: CocoData) -> Result:
    """Measure one part; the numbers come with --merge."""
    from ...workflows import evaluate_shard

    shard, out = arguments.shard, _out(arguments)
    with progress_bar() as tell:
        is_new = evaluate_shard(arguments.model, data, shard, out, tell)
    return told_shard(arguments, is_new)


def _out(arguments: Arguments) -> Path:
    from ...runtime.errors import InputError

    alone = ("against", "explain", "boundary", "lvis", "tiles", "tile_overlap")
    beside = [f"--{name.replace('_', '-')}" for name in alone if vars(arguments)[name]]
    if arguments.out is None or beside:
        found = "no --out" if arguments.out is None else beside[0]
        raise InputError(
            f"eval: {found} found beside --shard, --merge or --ray; expected --out DIR, where the "
            "parts are, and one model. Correct the command."
        )
    out: Path = arguments.out
    return out
