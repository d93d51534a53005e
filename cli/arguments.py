"""What the arguments of several verbs have in common, and the types of their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ..eval import CocoData, DataSource
    from ..workflows import Shard
    from ..workflows.sharding.on_ray import RayOptions

T = TypeVar("T")

Arguments = argparse.Namespace
Result = dict[str, Any]
"""What `--json` prints; `exit_code` in it is the command's."""

CANVAS_NAMES = ("portrait-landscape", "buckets")
MODEL_HELP = (
    "checkpoint (also a shipped one's name), .onnx, .engine or a bundle's folder; "
    "FILE@SESSION,key=value names what runs it, e.g. x.onnx@openvino,threads=4"
)


def add_verb(
    verbs: Any, name: str, text: str, run: Callable[[Arguments], Result]
) -> argparse.ArgumentParser:
    """One subcommand with the option that all have; `run` is called with what was parsed."""
    sub: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    sub.add_argument("--json", action="store_true", help="one JSON object as the last stdout line")
    sub.set_defaults(run=run)
    return sub


def add_recipe(sub: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """A recipe with its overrides and what its weights begin as."""
    sub.add_argument(
        "recipe", nargs="?" if optional else None, help="shipped recipe name or a YAML file"
    )
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. solver.lr=0.01")
    begin = sub.add_mutually_exclusive_group()
    begin.add_argument(
        "--weights", type=Path, help="checkpoint of any family to start from: all that fits"
    )
    begin.add_argument("--backbone", type=Path, help="the same, but its backbone or body alone")


def add_source(sub: argparse.ArgumentParser) -> None:
    """Labelled pictures: a folder, or a pair."""
    sub.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="labelled pictures: COCO, Roboflow, CVAT, labelme, YOLO, one JSON",
    )
    sub.add_argument(
        "--images", type=Path, metavar="DIR", help="instead of --data: pictures of --annotations"
    )
    sub.add_argument("--annotations", type=Path, metavar="FILE", help="COCO JSON of --images")
    sub.add_argument(
        "--val-images", type=Path, metavar="DIR", help="beside --images, which are train's then"
    )
    sub.add_argument(
        "--val-annotations", type=Path, metavar="FILE", help="COCO JSON of --val-images"
    )
    sub.add_argument(
        "--val-share",
        type=float,
        metavar="SHARE",
        help="of the pictures, that is the val split where there is none (default 0.1)",
    )

    sub.add_argument(
        "--lenient",
        action="store_true",
        help="go on where many objects are probably wrong, which `maskrt data check` lists",
    )


def add_data(sub: argparse.ArgumentParser) -> None:
    """Pictures with ground truth to measure on."""
    add_source(sub)
    sub.add_argument("--split", choices=["val", "train", "test"], default="val")
    sub.add_argument(
        "--first", type=int, metavar="N", help="only so many pictures, those of smallest id"
    )


def add_parts(sub: argparse.ArgumentParser) -> None:
    """Work in parts, by other processes and machines; their files are in --out."""
    parts = sub.add_mutually_exclusive_group()
    parts.add_argument(
        "--shard", type=shard, metavar="I/N", help="only part I of N; a part that is there is done"
    )
    parts.add_argument("--merge", action="store_true", help="put the parts in --out together")
    parts.add_argument(
        "--ray", metavar="ADDRESS", help="by a Ray cluster: local, auto, or its head's address"
    )
    sub.add_argument("--workers", type=int, metavar="N", default=1, help="with --ray (1)")
    sub.add_argument(
        "--gpus",
        type=float,
        metavar="X",
        default=0.0,
        help="of each worker, as 0.5, with --ray (0)",
    )


def add_tiles(sub: argparse.ArgumentParser) -> None:
    """Pictures in parts, by one process."""
    sub.add_argument(
        "--tiles",
        type=int,
        metavar="PX",
        help="for large pictures and dense scenes: in overlapping tiles of this side",
    )
    sub.add_argument(
        "--tile-overlap",
        type=int,
        metavar="PX",
        help="about the greatest object's size (a fifth of --tiles)",
    )


def told_shard(arguments: Arguments, is_new: bool) -> Result:
    """Say that a part is there; the whole comes with --merge."""
    from .output import say

    part, state = arguments.shard, "is done" if is_new else "was done before"
    say(f"{arguments.out}: shard {part.number} of {part.count} {state}")
    return {"shard": part.number, "shards": part.count, "was_done": not is_new}


def ray_options(arguments: Arguments) -> RayOptions:
    """What `--ray`, `--workers` and `--gpus` say.

    Raises:
        InputError: a number is out of range, or Ray is not installed.
    """
    from ..workflows import RayOptions

    return RayOptions(arguments.ray, arguments.workers, gpus=arguments.gpus)


def shard(text: str) -> Shard:
    """A part as I/N."""
    from ..runtime.errors import InputError
    from ..workflows import Shard

    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N like 1/4")
    try:
        return Shard(int(number), int(count))
    except InputError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def data_source(arguments: Arguments) -> DataSource | None:
    """What the options of `add_source` name; None where they name nothing.

    Raises:
        InputError: half a pair, or a folder and a pair.
    """
    from ..eval.datasets.source import DataSource
    from ..runtime.errors import InputError

    folder, pair = arguments.data, _pair(arguments, "")
    val = _pair(arguments, "val-")
    if folder is not None and pair is not None:
        raise InputError(
            f"--data {folder}: --images found beside it; expected a folder alone, or --images DIR "
            "and --annotations FILE. Leave one away."
        )
    if val is not None and pair is None:
        raise InputError(
            f"--val-images {val[0]}: no --images found beside it; expected the train split's "
            "pictures and --annotations too. To measure on a pair name it by these."
        )
    if folder is not None:
        return DataSource(folder, None, arguments.val_share, lenient=arguments.lenient)
    if pair is None:
        return None
    return DataSource(*pair, arguments.val_share, val, lenient=arguments.lenient)


def _pair(arguments: Arguments, prefix: str) -> tuple[Path, Path] | None:
    """The two options of a pair; None where neither is given."""
    from ..runtime.errors import InputError

    names = (f"{prefix}images", f"{prefix}annotations")
    images, file = (getattr(arguments, name.replace("-", "_")) for name in names)
    if (images is None) == (file is None):
        return None if images is None else (images, file)
    given, lacks = names[::-1] if images is None else names
    number = str(images).isdigit()
    remedy = f"For a number of pictures use --first {images}." if number else "Name both."
    raise InputError(
        f"--{given} {images or file}: no --{lacks} found beside it; expected --{names[0]} DIR and "
        f"--{names[1]} FILE. {remedy}"
    )


def read_data(arguments: Arguments) -> CocoData | None:
    """The pictures that the options of `add_data` name, said in a line; None where none are.

    Raises:
        InputError: as `load_data`.
    """
    from ..workflows import load_data
    from .output import say

    source = data_source(arguments)
    if source is None:
        return None
    data = load_data(source, arguments.split, arguments.first)
    say(data.told)
    return data


def required(value: T | None) -> T:
    """What `data_source` or `read_data` gave a verb that cannot do without.

    Raises:
        InputError: it is None.
    """
    from ..runtime.errors import InputError

    if value is None:
        raise InputError(
            "no labelled pictures named; expected --data DIR, or --images DIR and --annotations "
            "FILE. Name some."
        )
    return value


def model(text: str) -> Any:
    """A MODEL argument: the file, and behind an @ the session and its options."""
    from ..runtime.errors import InputError
    from ..runtime.sessions.open import model_from_text

    try:
        return model_from_text(text)
    except InputError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def batches(text: str) -> tuple[int, ...]:
    """Batch sizes behind commas, each once and ascending."""
    if not all(part.isdigit() and int(part) > 0 for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"'{text}' is not batch sizes like 1,2,4,8")
    return tuple(sorted({int(part) for part in text.split(",")}))


def canvases(text: str) -> str | tuple[tuple[int, int], ...]:
    """Canvases, HxW in pixels each with commas between, or what a name stands for."""
    if text in CANVAS_NAMES:
        return text
    sides = [part.partition("x")[::2] for part in text.lower().split(",")]
    if not all(height.isdigit() and width.isdigit() for height, width in sides):
        names = " or ".join(CANVAS_NAMES)
        raise argparse.ArgumentTypeError(f"'{text}' is not HxW like 800x1344, nor {names}")
    return tuple((int(height), int(width)) for height, width in sides)
