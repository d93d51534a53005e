"""`maskrt page`: models inside a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...arguments import Arguments, Result, add_verb


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "page", "models inside a web page: a folder that runs in browsers", run)
    sub.add_argument("models", type=Path, nargs="+", metavar="MODEL", help=".onnx files")
    sub.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="the folder")
    sub.add_argument(
        "--runtime",
        type=Path,
        metavar="FOLDER",
        help="ONNX Runtime Web from npm, for a page without a network (its public address)",
    )


def run(arguments: Arguments) -> Result:
    """Write the folder and say how it is served."""
    from ....workflows import write_page

    models = write_page(arguments.models, arguments.out, arguments.runtime)
    names = [model.name for model in models]
    print(f"{arguments.out}: a page with {', '.join(names)}; to look at it on this machine:")
    print(f"python -m http.server 8080 --bind 127.0.0.1 --directory {arguments.out.resolve()}")
    return {"out": str(arguments.out), "models": names}
