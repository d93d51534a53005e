"""`maskrt bench MODEL...`: every model under one protocol, beside its accuracy and its floor.

    files (exported per --batch) -> accuracy -> one interleaved run -> [streams] [trtexec] [against]
                                 -> tables, report.html, .md and .json

The protocol is `eval/latency.py`; this stands at the repository root because it exports, opens and
counts what all folders hold. Nothing is printed that was not measured in this call.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.errors import InputError
from ..runtime.files import require_file, sha256_of, write_error
from ..runtime.sessions.open import CHECKPOINT, SESSIONS, Model, check_session
from .bench_findings import (
    Findings,
    Opened,
    find_engines,
    find_floor,
    find_placement,
    find_recommendation,
    find_regression,
    find_throughput,
    find_trtexec,
)

if TYPE_CHECKING:
    from ..eval import Accuracy, Bench, BenchOptions, CocoData, Measurement, Table
    from ..eval.timing.regression import Earlier
    from ..runtime.predictor import Predictor

    Measure = Callable[[Model, CocoData], Measurement]

Result = dict[str, Any]

PICTURES = 64
"""Of the data set at most, used in turn."""
DRAWN = 32
"""Pictures drawn where there is no data set."""


def bench_models(
    arguments: argparse.Namespace,
    options: BenchOptions,
    coco: CocoData | None,
    measure: Measure,
) -> Result:
    """Time the models of a command line, print tables and sentences, and write its report.

    Args:
        arguments: of `maskrt bench`, models given.
        options: how long.
        coco: pictures and ground truth; None draws pictures and measures no accuracy.
        measure: opens an artefact and measures it, as `maskrt eval` does.

    Returns:
        The run as JSON values; `exit_code` 1 when `--against` found a row that became slower.

    Raises:
        InputError: an option does not fit, or the earlier file is not usable.
        SessionError: a model cannot be opened here.
    """
    from ..eval import bench_json, environment, latency_tables, read_earlier

    _check(arguments)
    earlier = None if arguments.against is None else read_earlier(arguments.against)
    with contextlib.ExitStack() as stack:
        models = _files(arguments.models, arguments.batch, stack)
        _require_known(earlier, models)
        accuracies = [] if coco is None else [measure(model, coco).accuracy for model in models]
        images = _pictures(coco)
        opened = [_open(model, arguments.streams, stack) for model in models]
        facts = environment([model.path for model in models])
        result = _timed(opened, images, options)
        findings = Findings()
        find_engines(findings, opened)
        find_placement(findings, opened, result)
        find_floor(findings, opened, result)
        find_throughput(findings, opened, images, arguments.streams, options)
    find_trtexec(findings, opened, result)
    find_regression(findings, earlier, result, facts, arguments.allow)
    find_recommendation(findings, result, accuracies)
    _show([*latency_tables(result, accuracies), *findings.tables], findings.sentences)
    _write(arguments, result, findings, accuracies, facts, len(images))
    return {
        **bench_json(result),
        "environment": facts,
        "details": findings.details,
        "sentences": findings.sentences,
        "exit_code": int(findings.failed),
    }


def _check(arguments: argparse.Namespace) -> None:
    """Options that fit neither each other nor anything, before anything is done."""
    if arguments.html is not None and arguments.html.suffix != ".html":
        raise InputError(
            f"{arguments.html}: a report ends in .html; found '{arguments.html.suffix}'. Rename it."
        )
    if arguments.streams is not None and arguments.streams < 2:
        raise InputError(
            f"bench: --streams {arguments.streams} found; expected at least 2, as one stream is "
            "measured beside them. Ask for more, or leave it away."
        )
    if arguments.allow is not None and not arguments.allow > 0:
        raise InputError(
            f"bench: --allow {arguments.allow} found; expected a ratio above 0, e.g. 1.05 for 5 % "
            "slower. Give such a ratio."
        )


def _files(
    models: Sequence[Model], batches: Sequence[int] | None, stack: contextlib.ExitStack
) -> list[Model]:
    """The files to time: with `batches`, checkpoints become one ONNX file for each of them."""
    if batches is None:
        return list(models)
    try:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    except OSError as err:
        raise write_error(Path(tempfile.gettempdir()), err) from err
    found: list[Model] = []
    for model in models:
        if model.path.suffix == CHECKPOINT:
            found += [_exported(model, batch, folder) for batch in batches]
        else:
            _require_batch(model, batches)
            found.append(model)
    return found


def _exported(model: Model, batch: int, folder: Path) -> Model:
    """A checkpoint as FP32 ONNX of one batch size; a session after @ is the ONNX file's."""
    from ..export.to_onnx import export
    from ..train.deploy.deployment import Shapes

    if model.session is not None:
        onnx_sessions = tuple(SESSIONS[".onnx"])
        check_session(model.path.with_suffix(".onnx"), model.session, onnx_sessions)
    path = folder / f"{model.path.stem}-b{batch}.onnx"
    if not path.exists():  # the same checkpoint in another session
        print(f"{model.path.name}: export at batch {batch}")
        export(model.path, {"fp32": path}, shapes=Shapes(batch=batch))
    return Model(path, model.session)


def _require_batch(model: Model, batches: Sequence[int]) -> None:
    from .. import load

    with load(model.path, model.session) as predictor:
        batch = predictor.contract.batch
    if batch not in batches:
        asked = ", ".join(map(str, batches))
        raise InputError(
            f"{model.path}: the file's batch is fixed at {batch}; expected one of --batch {asked}. "
            f"Name its checkpoint instead, or run: maskrt export CKPT -o {model.path.stem}-b"
            f"{batches[0]}.onnx --batch {batches[0]}"
        )


def _require_known(earlier: Earlier | None, models: Sequence[Model]) -> None:
    """Before the long run: whether `--against` can say anything about it."""
    if earlier is None:
        return
    from ..eval import require_match

    for model in models:
        require_file(model.path, "a model to time", (CHECKPOINT, *SESSIONS))
    require_match(earlier, [(model.name, sha256_of(model.path)) for model in models])


def _pictures(coco: CocoData | None) -> list[Any]:
    """Of the data set, else drawn ones."""
    if coco is None:
        import numpy as np

        from ..train.shapes.scenes import draw_scene

        return [draw_scene(np.random.default_rng([11, i])).image for i in range(DRAWN)]
    from ..eval import read_record

    return [read_record(record) for record in coco.images[:PICTURES]]


def _open(model: Model, streams: int | None, stack: contextlib.ExitStack) -> Opened:
    from ..eval import Target

    predictor = stack.enter_context(_predictor(model, streams))
    return Opened(model.path, Target(model.name, predictor, sha256_of(model.path)))


def _predictor(model: Model, streams: int | None) -> Predictor:
    """The model open; an engine runs one batch per context, so it gets one for each stream."""
    from .. import load

    if streams is None or model.path.suffix.lower() != ".engine":
        return load(model.path, model.session)
    from ..engines.plugins.registration import register_for_engine
    from ..runtime.predictor import Predictor
    from ..runtime.sessions.trt.session import TrtSession

    check_session(model.path, model.session, tuple(SESSIONS[".engine"]))
    register_for_engine(model.path)
    return Predictor(TrtSession(model.path, contexts=streams))


def _timed(opened: Sequence[Opened], images: Sequence[Any], options: BenchOptions) -> Bench:
    """The interleaved run, with the peaks of what its rows compute on."""
    from ..eval import bench, gpu_state, has_gpu
    from .floor import probes_for

    targets = [one.target for one in opened]
    probes = probes_for(target.predictor.session.backend for target in targets)
    with _progress() as tell:
        return bench(
            targets,
            images,
            options,
            clock_probe=gpu_state if has_gpu() else None,
            peak_probes=probes,
            on_progress=tell,
        )


def _show(tables: Sequence[Table], sentences: Sequence[str]) -> None:
    from rich.console import Console

    from ..eval import print_table

    for table in tables:
        print_table(table, Console())
    for sentence in sentences:
        print(sentence)


def _write(
    arguments: argparse.Namespace,
    result: Bench,
    findings: Findings,
    accuracies: Sequence[Accuracy],
    facts: dict[str, Any],
    pictures: int,
) -> None:
    if arguments.html is None:
        return
    from ..eval import Report, write_report

    report = Report(
        "maskrt bench",
        f"{pictures} pictures.",
        facts,
        summary=tuple(findings.sentences),
        commands=(_command(arguments),),
        accuracy=tuple(accuracies),
        latency=result,
        tables=tuple(findings.tables),
        details=findings.details,
    )
    write_report(report, arguments.html)
    print(f"{arguments.html}: written, beside it .md and .json")


def _command(arguments: argparse.Namespace) -> str:
    """What to type to get this again."""
    words = ["maskrt bench", *map(str, arguments.models)]
    if arguments.data is not None:
        words.append(f"--data {arguments.data}")
    if arguments.batch is not None:
        words.append(f"--batch {','.join(map(str, arguments.batch))}")
    if arguments.streams is not None:
        words.append(f"--streams {arguments.streams}")
    return " ".join(words)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error while the run lasts."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda done, text: progress.update(task, completed=done, description=text)
