"""`maskrt serve`: models over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...arguments import MODEL_HELP, Arguments, Result, add_verb, model
from ...output import say

MIB = 2**20


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "serve", "models over HTTP: pictures in, instances out", run)
    sub.add_argument("models", type=model, nargs="+", metavar="MODEL", help=MODEL_HELP)
    sub.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    sub.add_argument("--port", type=int, default=8000, help="0 takes a free one (8000)")
    sub.add_argument(
        "--token-file", type=Path, metavar="FILE", help="holds the token that requests must have"
    )
    for name, kind, default, text in (
        ("--queue", int, 64, "pictures that may wait for each model; others get 503"),
        ("--wait-ms", float, 5, "a batch waits so long to be full, where it is larger than 1"),
        ("--queue-s", float, 30, "a picture waits so long at most"),
        ("--receive-s", float, 30, "a request must have come in this time"),
        ("--most-mib", float, 20, "of a request's body"),
        ("--most-mpx", float, 50, "million pixels of a picture"),
        ("--memory-mib", float, 1024, "of all bodies and decoded pictures together"),
    ):
        metavar = name.rpartition("-")[2].upper() if name != "--queue" else "N"
        sub.add_argument(
            name, type=kind, default=default, metavar=metavar, help=f"{text} ({default:g})"
        )


def run(arguments: Arguments) -> Result:
    """Serve until it is stopped."""
    import logging

    from ....workflows import ServeSettings, serve_models

    settings = ServeSettings(
        host=arguments.host,
        port=arguments.port,
        queue=arguments.queue,
        wait_ms=arguments.wait_ms,
        queue_s=arguments.queue_s,
        receive_s=arguments.receive_s,
        most_bytes=int(arguments.most_mib * MIB),
        most_px=int(arguments.most_mpx * 1_000_000),
        memory_bytes=int(arguments.memory_mib * MIB),
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # to standard error
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    result: Result = {}

    def told(address: str, names: Sequence[str]) -> None:
        result.update(address=address, models=list(names))
        say(f"{address} answers for {', '.join(names)}; Ctrl-C stops it")
        if arguments.token_file is None and not _is_local(arguments.host):
            say(f"every machine that reaches {arguments.host} may ask: --token-file sets a token")

    serve_models(arguments.models, settings, told, arguments.token_file)
    say("stopped; all that was accepted is answered")
    return result


def _is_local(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
