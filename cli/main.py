"""The front door: `maskrt VERB ...`.

Only argparse and the verbs' own small modules are imported here, so that `--help` answers at once;
a verb imports what it needs when it runs. Exit codes: 0 done, 1 an accuracy gate failed, 2 bad
usage or bad input.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from .verbs import (
    bench,
    bisect_fp16,
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

VERBS = (
    *(demo, data, new, import_weights, train, export, build, predict, evaluate),
    *(bench, bisect_fp16, inspect_file, doctor, completion),
)
"""In the order of `maskrt --help`: the way from nothing to an engine, then what looks at things."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parse(words)
    from ..runtime.errors import MaskRTError

    try:
        result: dict[str, Any] = arguments.run(arguments)
    except MaskRTError as err:
        print(f"maskrt {arguments.verb}: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt:
        print(f"maskrt {arguments.verb}: interrupted; nothing half-written stays.", file=sys.stderr)
        return 130
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
