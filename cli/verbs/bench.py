"""`maskrt bench`: latency of several models beside their accuracy; or of the operators alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..arguments import MODEL_HELP, Arguments, Result, add_data, add_verb, batches, model, read_data
from ..output import print_tables, progress_bar, say


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "latency of several models, interleaved, beside their accuracy"
    sub = add_verb(verbs, "bench", text, run)
    sub.add_argument("models", type=model, nargs="*", metavar="MODEL", help=MODEL_HELP)
    sub.add_argument(
        "--operators", action="store_true", help="time the custom operators instead, without MODEL"
    )
    add_data(sub)
    sub.add_argument(
        "--samples",
        type=int,
        help="calls per model (default 200; of operators 40); below 10 no intervals",
    )
    sub.add_argument("--seconds", type=float, help="time per model instead of --samples")
    sub.add_argument("--streams", type=int, help="also so many threads that share each model")
    sub.add_argument(
        "--batch",
        type=batches,
        metavar="N,N",
        help="batch sizes, e.g. 1,2,4,8: checkpoints are exported at each (ONNX FP32)",
    )
    sub.add_argument("--against", type=Path, metavar="JSON", help="earlier bench to compare with")
    sub.add_argument(
        "--allow", type=float, help="exit code 1 above this ratio for certain (default 1.05)"
    )
    sub.add_argument("--html", type=Path, help="also write this report (and its .md and .json)")


def run(arguments: Arguments) -> Result:
    """Time models, or with --operators the operators."""
    given = {"samples": arguments.samples, "seconds": arguments.seconds}
    asked = {name: value for name, value in given.items() if value is not None}
    return (_operators if arguments.operators else _models)(arguments, asked)


def _models(arguments: Arguments, asked: dict[str, Any]) -> Result:
    from ...eval import BenchOptions
    from ...runtime.errors import InputError
    from ...workflows import bench_models

    if not arguments.models:
        raise InputError(
            "bench: no MODEL found; expected at least one checkpoint, .onnx or .engine. Name it, or"
            " ask for --operators, which needs none."
        )
    data = read_data(arguments)
    with progress_bar() as tell:
        bench = bench_models(
            arguments.models,
            BenchOptions(**asked),
            data=data,
            batches=arguments.batch,
            streams=arguments.streams,
            against=arguments.against,
            allowed=arguments.allow,
            html=arguments.html,
            command=arguments.command,
            on_progress=tell,
            on_step=say,
        )
    print_tables(bench.tables)
    for sentence in bench.sentences:
        print(sentence)
    if arguments.html is not None:
        print(f"{arguments.html}: written, beside it .md and .json")
    return {**bench.to_json(), "exit_code": int(bench.failed)}


def _operators(arguments: Arguments, asked: dict[str, Any]) -> Result:
    import dataclasses

    from ...runtime.errors import InputError
    from ...workflows import OPERATOR_OPTIONS, bench_operators

    others = (
        *(arguments.data, arguments.images, arguments.annotations),
        *(arguments.html, arguments.streams, arguments.batch, arguments.against),
    )
    if arguments.models or any(other is not None for other in others):
        raise InputError(
            "bench: --operators together with MODEL, --data or --html, or with an option for them, "
            "found; expected it alone, as it times operators on inputs of its own. Leave the "
            "others away."
        )
    with progress_bar() as tell:
        bench = bench_operators(dataclasses.replace(OPERATOR_OPTIONS, **asked), on_progress=tell)
    print_tables(bench.tables)
    for name, reason in bench.absent.items():
        print(f"Not run here: {name}: {reason}.")
    return {**bench.to_json(), "exit_code": int(bench.failed)}
