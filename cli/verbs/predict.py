"""`maskrt predict`: pictures, videos and cameras as overlays and COCO results."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import (
    MODEL_HELP,
    Arguments,
    Result,
    add_parts,
    add_tiles,
    add_verb,
    model,
    ray_options,
    told_shard,
)
from ..output import progress_bar, say

if TYPE_CHECKING:
    from ...workflows.prediction import Written


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "overlays and COCO results for pictures, folders, videos and cameras"
    sub = add_verb(verbs, "predict", text, run)
    sub.add_argument("model", type=model, help=MODEL_HELP)
    sub.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="pictures, folders, 'photos/**/*.jpg', videos, cameras (0, rtsp://...), - for a list "
        "on standard input; shapes.jpg is a drawn picture that comes with maskrt",
    )
    sub.add_argument("--out", type=Path, required=True)
    sub.add_argument(
        "--score",
        type=scores,
        action="append",
        metavar="S",
        help="drawn from this score on (0.5); cup=0.3,0.6: cups from 0.3, all others from 0.6",
    )
    sub.add_argument(
        "--classes", type=_names, metavar="A,B", help="only these, in overlays and results"
    )
    sub.add_argument(
        "--most",
        type=int,
        metavar="N",
        help="drawn on a picture at most, the best (all; of proposals 20)",
    )
    sub.add_argument(
        "--nms-iou",
        type=float,
        help="mask IoU above which the better instance wins (box NMS is in the graph)",
    )
    sub.add_argument(
        "--frames", type=int, metavar="N", help="of a video or camera the first N (all)"
    )
    add_tiles(sub)
    sub.add_argument(
        "--compare",
        type=model,
        metavar="OTHER",
        help="another MODEL, whose overlays are drawn at the right of the first one's",
    )
    sub.add_argument(
        "--server",
        metavar="URL",
        help="MODEL is a name on this server (maskrt serve, NVIDIA Triton), which runs it",
    )
    sub.add_argument("--token-file", type=Path, metavar="FILE", help="holds the server's token")
    add_parts(sub)


def run(arguments: Arguments) -> Result:
    """Predict and write."""
    from ...workflows import predict_files

    score, by_class = 0.5, dict[str, float]()
    for general, special in arguments.score or ():
        score, by_class = score if general is None else general, by_class | special
    if arguments.shard is not None or arguments.merge or arguments.ray is not None:
        return _in_parts(arguments, score, by_class)
    with progress_bar("pictures") as tell:
        written = predict_files(
            arguments.model,
            arguments.sources,
            arguments.out,
            score,
            by_class=by_class,
            classes=arguments.classes,
            most=arguments.most,
            nms_iou=arguments.nms_iou,
            frames=arguments.frames,
            compare=arguments.compare,
            server=arguments.server,
            token_file=arguments.token_file,
            tiles=arguments.tiles,
            tile_overlap=arguments.tile_overlap,
            on_progress=tell,
        )
    return _told(arguments, written, min([score, *by_class.values()]))


def _in_parts(arguments: Arguments, score: float, by_class: dict[str, float]) -> Result:
    """One part, all of them put together, or by a cluster."""
    from ...runtime.errors import InputError
    from ...workflows import Wanted, merge_predictions, plan_prediction, predict_shard

    if arguments.tiles is not None or arguments.tile_overlap is not None:
        raise InputError(
            "predict: --tiles found beside --shard, --merge or --ray; expected whole pictures "
            "there. Leave one away."
        )
    if arguments.compare is not None or arguments.server is not None:
        raise InputError(
            "predict: --compare or --server found beside --shard, --merge or --ray; expected one "
            "model, opened where its part is done. Leave one away."
        )
    wanted = Wanted(score, by_class, arguments.classes, arguments.most, arguments.nms_iou)
    least = min([score, *by_class.values()])
    plan = plan_prediction(
        arguments.model, arguments.sources, arguments.out, wanted, arguments.frames
    )
    if arguments.merge:
        return _told(arguments, merge_predictions(plan), least)
    with progress_bar("pictures") as tell:
        if arguments.ray is not None:
            from ...workflows import predict_on_ray

            written = predict_on_ray(plan, ray_options(arguments), tell)
        else:
            is_new = predict_shard(plan, arguments.shard, tell)
    return told_shard(arguments, is_new) if arguments.shard else _told(arguments, written, least)


def _told(arguments: Arguments, written: Written, least: float) -> Result:
    """Print what was written; `least` is the lowest score that is drawn."""
    from ...runtime.errors import InputError

    counts = _counted(written.pictures, "picture"), _counted(written.instances, "instance")
    print(f"{arguments.out}: {', '.join(counts)} drawn")
    if not written.instances:
        print(f"  {_why_none(written.best, least)}")
    print(f"  the network {written.knows}")
    if written.origin:
        print(f"  weights: {written.origin}")
    if written.skipped:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(written.skipped.items()))
        print(f"  skipped in folders, as no pictures: {kinds}")
    if written.others:
        print(f"  results.json says nothing of {written.others} other files that are there")
    if written.lost:
        print(f"  {written.lost}")
    for sentence in written.broken:
        say(f"maskrt predict: {sentence}")
    exit_code = InputError.exit_code if written.broken else 0
    return {**dataclasses.asdict(written), "exit_code": exit_code}


def scores(text: str) -> tuple[float | None, dict[str, float]]:
    """A score of all classes, or none, and those of some: "0.5", "cup=0.3" or "cup=0.3,0.5"."""
    general, special = None, {}
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is no score like 0.5 or cup=0.3") from None
        if equals:
            special[name.strip()] = value
        else:
            general = value
    return general, special


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _why_none(best: float | None, score: float) -> str:
    if best is None:
        return "nothing was found"
    least = math.floor(best * 10) / 10
    return f"nothing scores {score:g} or more; the best has {best:.2f}: --score {least:g} draws it"
