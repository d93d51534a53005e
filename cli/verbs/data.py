"""`maskrt data`: pictures that the project draws itself, and a look at anybody's labelled ones."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import Arguments, Result, add_source, add_verb, data_source, required
from ..output import print_tables, progress_bar, say

if TYPE_CHECKING:
    from ...eval.checks.data_check import DataCheck

_LISTED = 20
"""Problems of each kind that are printed; --json has all."""


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "draw a data set of textured shapes; check or show labelled pictures"
    sub = verbs.add_parser("data", help=text, description=text)
    kinds = sub.add_subparsers(dest="kind", required=True, metavar="KIND")
    _add_shapes(kinds)
    _add_check(kinds)
    _add_show(kinds)


def _add_shapes(kinds: Any) -> None:
    sub = add_verb(kinds, "shapes", "draw a COCO-format data set of textured shapes", run_shapes)
    sub.add_argument("--out", type=Path, required=True, help="folder to write")
    sub.add_argument("--images", type=int, default=2000, help="training pictures (default 2000)")
    sub.add_argument("--val-images", type=int, default=200, help="val pictures (default 200)")
    sub.add_argument("--seed", type=int, default=0)


def _add_check(kinds: Any) -> None:
    sub = add_verb(
        kinds, "check", "what is wrong with labelled pictures, by file and id", run_check
    )
    _add_folder(sub)
    sub.add_argument(
        "--recipe",
        default="mask_rcnn_r50_c4",
        help="whose anchors and slots objects are held against (default mask_rcnn_r50_c4)",
    )
    sub.add_argument(
        "--fix",
        action="store_true",
        help="write a clean copy beside each JSON in which something is wrong",
    )


def _add_show(kinds: Any) -> None:
    sub = add_verb(kinds, "show", "a page of 24 pictures with their masks", run_show)
    _add_folder(sub)
    sub.add_argument("--out", type=Path, required=True, metavar="HTML", help="page to write")
    sub.add_argument("--split", choices=["train", "val", "test"], default="train")


def _add_folder(sub: Any) -> None:
    sub.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="as --data DIR")
    add_source(sub)


def run_shapes(arguments: Arguments) -> Result:
    """Draw it."""
    from ...workflows import draw_data

    draw_data(arguments.out, arguments.images, arguments.val_images, arguments.seed)
    print(f"{arguments.out}: {arguments.images} train and {arguments.val_images} val pictures")
    return {"out": str(arguments.out)}


def run_check(arguments: Arguments) -> Result:
    """Check, print what was found, and exit with 2 where a run would be refused."""
    from ...eval.checks.data_check import problems_table
    from ...runtime.errors import InputError
    from ...workflows import check_data

    source = _source(arguments)
    with progress_bar() as tell:
        check = check_data(source, arguments.recipe, fix=arguments.fix, on_progress=tell)
    if check.layout:
        print(f"{source}: {check.layout} layout\n")
    print_tables(check.tables)
    if check.problems:
        _print_problems(check)
        print_tables([problems_table(check)])
    else:
        print(f"{source}: no problem found")
    for path in check.written:
        print(f"clean copy: {path}")
    fails = check.fails(lenient=arguments.lenient)
    return {
        "layout": check.layout,
        "counts": check.counts,
        "problems": [
            {**dataclasses.asdict(problem), "file": str(problem.file)} for problem in check.problems
        ],
        "tables": [dataclasses.asdict(table) for table in check.tables],
        "written": [str(path) for path in check.written],
        "exit_code": InputError.exit_code if fails else 0,
    }


def _print_problems(check: DataCheck) -> None:
    for _, several in groupby(check.problems, lambda one: one.kind):
        all_of = [*several]
        for problem in all_of[:_LISTED]:
            print(f"{problem.severity}: {problem}")
        if len(all_of) > _LISTED:
            print(f"  and {len(all_of) - _LISTED} more of these; --json lists all")
    print()


def run_show(arguments: Arguments) -> Result:
    """Draw the page."""
    from ...workflows import show_data

    count = show_data(_source(arguments), arguments.out, arguments.split)
    say(f"{arguments.out}: {count} {arguments.split} pictures")
    return {"out": str(arguments.out), "pictures": count}


def _source(arguments: Arguments) -> Any:
    """What DIR or the options of `add_source` name.

    Raises:
        InputError: both, or neither.
    """
    from ...runtime.errors import InputError

    if arguments.folder is not None:
        if arguments.data is not None:
            raise InputError(
                f"data {arguments.kind} {arguments.folder}: --data {arguments.data} found beside "
                "it; expected one folder. Leave one away."
            )
        arguments.data = arguments.folder
    return required(data_source(arguments))
