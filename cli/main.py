"""The front door: `maskrt VERB ...`.

Only argparse and the verbs' own small modules are imported here, so that `--help` answers at once;
a verb imports what it needs when it runs. Exit codes are in `endings.py`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from .endings import Signals, end, watched_streams
from .output import plain_warnings, said_once
from .verbs import (
    bench,
    build,
    completion,
    data,
    demo,
    doctor,
    evaluate,
    export,
    import_weights,
    inspect_file,
    new,
    predict,
    train,
)
from .verbs.precision import bisect_fp16, search
from .verbs.serving import model_repository, page, serve

VERBS = (
    demo,
    data,
    new,
    import_weights,
    train,
    export,
    build,
    predict,
    serve,
    page,
    model_repository,
    evaluate,
    bench,
    bisect_fp16,
    search,
    inspect_file,
    doctor,
    completion,
)
"""In the order of `maskrt --help`: the way from nothing to an engine, then what looks at things."""


EXTRAS = {
    **dict.fromkeys(("data", "new", "import", "train"), "train"),
    **dict.fromkeys(("demo", "bisect", "search"), "demo"),
    "export": "export",
    "build": "engines",
    "serve": "serve",
}
"""The extra that brings all that a verb may need; of the others it depends on the model's file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    where = " ".join(["maskrt", *words[:1]])
    with watched_streams(), Signals() as signals:
        try:
            code = _run(words)
        except SystemExit:  # argparse has said what there was to say
            if code := end(where, None, signals):
                return code
            raise
        except BaseException as err:
            return end(where, err, signals)
        return end(where, None, signals) or code


def _run(words: Sequence[str]) -> int:
    arguments = _parse(words)
    from ..runtime.packages import packages_named

    extra = EXTRAS.get(arguments.verb, "")
    where = f"maskrt {arguments.verb}"
    with packages_named("", extra), plain_warnings(where), said_once():
        result: dict[str, Any] = arguments.run(arguments)
    if arguments.json:
        import json

        print(json.dumps(result, sort_keys=True))
    return int(result.get("exit_code", 0))


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from .. import __version__

    top = argparse.ArgumentParser(
        prog="maskrt",
        description="maskrt: "
        "train, export, build, prove and time LSC Mask R-CNN and FastMask on ONNX and TensorRT.",
    )
    top.add_argument("--version", action="version", version=f"maskrt {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in VERBS:
        verb.add(verbs)
    return top


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse; `key=value` overrides may also follow the options, where argparse loses them."""
    top = parser()
    arguments, rest = top.parse_known_args(words)
    late = [word for word in rest if "=" in word and not word.startswith("-")]
    if rest and (late != rest or "overrides" not in arguments):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if late:
        arguments.overrides = [*arguments.overrides, *late]
    arguments.command, arguments.parser = shlex.join(["maskrt", *words]), top
    return arguments
