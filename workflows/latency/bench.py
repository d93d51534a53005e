"""Every model under one protocol, beside its accuracy and its physical floor.

    files (exported per batch) -> accuracy -> one interleaved run -> [streams] [trtexec] [against]
                               -> tables, report.html, .md and .json

The protocol is `eval/timing/latency.py`; this exports, opens and counts what all folders hold.
Nothing is in a result that was not measured in this call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.bundle import graph_paths
from ...runtime.errors import InputError
from ...runtime.files import require_file, sha256_of, write_error
from ...runtime.sessions.open import CHECKPOINT, SESSIONS, ModelRef, check_session
from ..measure import measured
from ..open import model_ref, open_model
from .findings import (
    Findings,
    Opened,
    find_engines,
    find_floor,
    find_placement,
    find_precision,
    find_recommendation,
    find_regression,
    find_throughput,
    find_trtexec,
)

if TYPE_CHECKING:
    from ...eval import Accuracy, Bench, BenchOptions, CocoData, Table
    from ...eval.timing.regression import Earlier

    Tell = Callable[[float, str], None]

PICTURES = 64
"""Of the data set at most, used in turn."""
DRAWN = 32
"""Pictures drawn where there is no data set."""


@dataclass(frozen=True)
class BenchRun:
    """What `bench_models` measured."""

    latency: Bench
    accuracies: tuple[Accuracy, ...]
    """Of each model, in order; empty without a data set."""
    tables: tuple[Table, ...]
    sentences: tuple[str, ...]
    """What the tables do not say: advice, what TensorRT did, what is missing."""
    details: dict[str, Any]
    """The tables' values as JSON values, raw samples included."""
    environment: dict[str, Any]
    failed: bool
    """Whether a row became slower than the earlier run allows."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        from ...eval import to_json

        return {
            **to_json(self.latency),
            "environment": self.environment,
            "details": self.details,
            "sentences": list(self.sentences),
        }


def bench_models(
    models: Sequence[str | Path | ModelRef],
    options: BenchOptions,
    *,
    data: CocoData | None = None,
    batches: Sequence[int] | None = None,
    streams: int | None = None,
    against: Path | None = None,
    allowed: float | None = None,
    html: Path | None = None,
    command: str = "",
    on_progress: Tell = lambda done, text: None,
    on_step: Callable[[str], None] = lambda line: None,
) -> BenchRun:
    """Time models in turns on the same pictures, and write the report that was asked for.

    Args:
        models: at least one; paths, "FILE@SESSION,NAME=VALUE", or `ModelRef`s. A bundle is timed
            graph by graph, all on the same pictures, and its accuracy is the whole bundle's.
        options: how long.
        data: pictures and ground truth; None draws pictures and measures no accuracy.
        batches: batch sizes; checkpoints are exported at each of them (ONNX FP32), other files must
            have one of them.
        streams: also time so many threads that share each model; 2 or more.
        against: JSON of an earlier bench to compare with.
        allowed: the run fails where a row is slower than `against` by more than this ratio for
            certain; None takes eval's.
        html: report to write, `.md` and `.json` beside it.
        command: what the report says to type to get this again.
        on_progress: told how much of the timing is done (0 to 1), and what is being timed.
        on_step: told what else is being done.

    Raises:
        InputError: an option does not fit, or the earlier file is not usable.
        SessionError: a model cannot be opened here.
    """
    from ...eval import environment, latency_tables, read_earlier

    _check(html, streams, allowed)
    earlier = None if against is None else read_earlier(against)
    with contextlib.ExitStack() as stack:
        graphs = _graphs([model_ref(model) for model in models])
        files = _files([file for file, _ in graphs], batches, stack, on_step)
        _require_known(earlier, files)
        accuracies = [] if data is None else _accuracies(files, dict(graphs), data)
        images = _pictures(data)
        _say_what_compiles(files, on_step)
        opened = [_open(model, streams, stack) for model in files]
        facts = environment([model.path for model in files])
        result = _timed(opened, images, options, on_progress)
        findings = Findings()
        find_engines(findings, opened)
        find_placement(findings, opened, result)
        find_floor(findings, opened, result)
        if html is not None:
            find_precision(findings, opened)
        find_throughput(findings, opened, images, streams, options)
    find_trtexec(findings, opened, result)
    find_regression(findings, earlier, result, facts, allowed)
    find_recommendation(findings, result, accuracies)
    run = BenchRun(
        latency=result,
        accuracies=tuple(accuracies),
        tables=(*latency_tables(result, accuracies), *findings.tables),
        sentences=tuple(findings.sentences),
        details=findings.details,
        environment=facts,
        failed=findings.failed,
    )
    if html is not None:
        _write_report(run, findings, html, command, len(images))
    return run


def _check(html: Path | None, streams: int | None, allowed: float | None) -> None:
    """Options that fit neither each other nor anything, before anything is done."""
    if html is not None:
        _require_page(html)
    if streams is not None and streams < 2:
        raise InputError(
            f"bench: --streams {streams} found; expected at least 2, as one stream is "
            "measured beside them. Ask for more, or leave it away."
        )
    if allowed is not None and not allowed > 0:
        raise InputError(
            f"bench: --allow {allowed} found; expected a ratio above 0, e.g. 1.05 for 5 % "
            "slower. Give such a ratio."
        )


def _require_page(html: Path) -> None:
    from ...eval import require_report

    if html.suffix != ".html":
        raise InputError(f"{html}: a report ends in .html; found '{html.suffix}'. Rename it.")
    require_report()


def _graphs(models: Sequence[ModelRef]) -> list[tuple[ModelRef, ModelRef]]:
    """What to time, of a bundle every graph, each with the model that was named."""
    return [
        (dataclasses.replace(model, path=path), model)
        for model in models
        for path in graph_paths(model.path)
    ]


def _accuracies(
    files: Sequence[ModelRef], named: dict[ModelRef, ModelRef], data: CocoData
) -> list[Accuracy]:
    """Of each file, a bundle's beside each of its graphs: one alone never gets all pictures."""
    known: dict[ModelRef, Accuracy] = {}
    found = []
    for file in files:
        model = named.get(file, file)
        if model not in known:
            known[model] = measured(model, data).accuracy
        found.append(dataclasses.replace(known[model], name=file.name, sha256=sha256_of(file.path)))
    return found


def _files(
    models: Sequence[ModelRef],
    batches: Sequence[int] | None,
    stack: contextlib.ExitStack,
    say: Callable[[str], None],
) -> list[ModelRef]:
    """The files to time: with `batches`, checkpoints become one ONNX file for each of them."""
    if batches is None:
        return list(models)
    try:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    except OSError as err:
        raise write_error(Path(tempfile.gettempdir()), err) from err
    found: list[ModelRef] = []
    for model in models:
        if model.path.suffix == CHECKPOINT:
            found += [_exported(model, batch, folder, say) for batch in batches]
        else:
            _require_batch(model, batches)
            found.append(model)
    return found


def _exported(model: ModelRef, batch: int, folder: Path, say: Callable[[str], None]) -> ModelRef:
    """A checkpoint as FP32 ONNX of one batch size; a session after @ is the ONNX file's."""
    from ...export.to_onnx import export
    from ...train.deploy.deployment import Shapes

    if model.session is not None:
        onnx_sessions = tuple(SESSIONS[".onnx"])
        check_session(model.path.with_suffix(".onnx"), model.session, onnx_sessions)
    path = folder / f"{model.path.stem}-b{batch}.onnx"
    if not path.exists():  # the same checkpoint in another session
        say(f"{model.path.name}: export at batch {batch}")
        export(model.path, {"fp32": path}, shapes=Shapes(batch=batch))
    return dataclasses.replace(model, path=path)


def _require_batch(model: ModelRef, batches: Sequence[int]) -> None:
    with open_model(model) as predictor:
        batch = predictor.contract.batch
    if batch not in batches:
        asked = ", ".join(map(str, batches))
        raise InputError(
            f"{model.path}: the file's batch is fixed at {batch}; expected one of --batch {asked}. "
            f"Name its checkpoint instead, or run: maskrt export CKPT -o {model.path.stem}-b"
            f"{batches[0]}.onnx --batch {batches[0]}"
        )


def _require_known(earlier: Earlier | None, models: Sequence[ModelRef]) -> None:
    """Before the long run: whether the earlier one can say anything about it."""
    if earlier is None:
        return
    from ...eval import require_match

    for model in models:
        require_file(model.path, "a model to time", (CHECKPOINT, *SESSIONS))
    require_match(earlier, [(model.name, sha256_of(model.path)) for model in models])


def _pictures(data: CocoData | None) -> list[Any]:
    """Of the data set, else drawn ones."""
    if data is None:
        import numpy as np

        from ...train.shapes.scenes import draw_scene

        return [draw_scene(np.random.default_rng([11, i])).image for i in range(DRAWN)]
    from ...eval import read_record

    return [read_record(record) for record in data.images[:PICTURES]]


def _open(model: ModelRef, streams: int | None, stack: contextlib.ExitStack) -> Opened:
    """The model open; an engine runs one batch per context, so it gets one for each stream."""
    from ...eval import Candidate

    asked = model
    if streams is not None and model.path.suffix.lower() == ".engine":
        options = dataclasses.replace(model.options, contexts=streams)
        asked = dataclasses.replace(model, options=options)
    predictor = stack.enter_context(open_model(asked))
    return Opened(model.path, Candidate(model.name, predictor, sha256_of(model.path)))


def _say_what_compiles(models: Sequence[ModelRef], say: Callable[[str], None]) -> None:
    """What takes a minute without a word would look hung."""
    for model in models:
        if model.session is not None and model.session.startswith("torch-compile"):
            say(f"{model.name}: torch compiles it in its first call, a minute or more of CPU time")


def _timed(
    opened: Sequence[Opened], images: Sequence[Any], options: BenchOptions, tell: Tell
) -> Bench:
    """The interleaved run, with the peaks of what its rows compute on."""
    from ...eval import bench, gpu_state, has_gpu
    from .floor import probes_for

    candidates = [one.candidate for one in opened]
    return bench(
        candidates,
        images,
        options,
        clock_probe=gpu_state if has_gpu() else None,
        peak_probes=probes_for(one.predictor.session.backend for one in candidates),
        on_progress=tell,
    )


def _write_report(
    run: BenchRun, findings: Findings, html: Path, command: str, pictures: int
) -> None:
    from ...eval import Report, write_report

    report = Report(
        "maskrt bench",
        f"{pictures} pictures.",
        run.environment,
        summary=run.sentences,
        commands=(command,) if command else (),
        accuracy=run.accuracies,
        latency=run.latency,
        precision=findings.precision,
        tables=tuple(findings.tables),
        details=run.details,
    )
    write_report(report, html)
