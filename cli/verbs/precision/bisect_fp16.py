"""`maskrt bisect`: which node groups of a model must stay FP32; `search` with two precisions."""

from __future__ import annotations

from typing import Any

from ...arguments import Arguments, Result, add_verb, read_data
from ...output import say
from .search import add_searched, told


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "which node groups must stay FP32, judged on 20 pictures or --first"
    sub = add_verb(verbs, "bisect", text, run)
    add_searched(sub, metric="instances")
    sub.set_defaults(first=20)


def run(arguments: Arguments) -> Result:
    """Search, and print what was found."""
    from ....workflows import bisect_precision

    data = read_data(arguments)
    done = bisect_precision(
        arguments.model, arguments.out, data, arguments.metric, arguments.gate, on_step=say
    )
    return told(done)
