"""What each `maskrt VERB` does: parse nothing, call one function of the folder, print a few lines.

Every function takes the parsed arguments and returns what `--json` prints; `VERBS` at the end
names them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .runtime.errors import InputError
from .runtime.open import Model

if TYPE_CHECKING:
    from .eval import Accuracy, CocoData, Hop, Measurement
    from .eval.coco_data import Split

Arguments = argparse.Namespace
Result = dict[str, Any]


def demo(arguments: Arguments) -> Result:
    """See demo.py."""
    from .demo import run_demo

    return run_demo(arguments.out, arguments.images, measured)


def data(arguments: Arguments) -> Result:
    """Draw the shapes data set."""
    from .train.shapes import draw_shapes

    _at_least_one(images=arguments.images, val_images=arguments.val_images)
    draw_shapes(arguments.out, arguments.images, arguments.val_images, arguments.seed)
    print(f"{arguments.out}: {arguments.images} train and {arguments.val_images} val pictures")
    return {"out": str(arguments.out)}


def new(arguments: Arguments) -> Result:
    """Write an untrained checkpoint."""
    from .train.checkpoint import new_checkpoint
    from .train.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    new_checkpoint(recipe, arguments.out, arguments.backbone)
    print(f"{arguments.out}: untrained {recipe.name}")
    return {"checkpoint": str(arguments.out)}


def import_weights(arguments: Arguments) -> Result:
    """Convert published weights."""
    from .train.import_weights import import_checkpoint

    report = import_checkpoint(arguments.file, arguments.format, arguments.out)
    print(f"{arguments.out}: {report}")
    return {"checkpoint": str(arguments.out)}


def train(arguments: Arguments) -> Result:
    """Train, then measure the result on the val split (the first rank only, under torchrun)."""
    from .train.loop import is_first_rank
    from .train.loop import train as run
    from .train.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    coco = _coco(arguments.data, "val", None)  # before the hours of training, not after them
    path = run(
        recipe,
        arguments.data,
        arguments.out,
        resume=arguments.resume,
        workers=arguments.workers,
        backbone=arguments.backbone,
    )
    if not is_first_rank():
        return {"checkpoint": str(path)}
    accuracy = measured(Model(path), coco).accuracy
    _print_accuracy([accuracy])
    from .train.checkpoint import record_accuracy

    record_accuracy(path, accuracy.measured)
    return {"checkpoint": str(path), **accuracy.measured}


def export(arguments: Arguments) -> Result:
    """Checkpoint to ONNX."""
    from .export.rules import rule_names
    from .export.to_onnx import export as run
    from .train.deployment import Shapes

    shapes = Shapes(arguments.canvas, arguments.batch, arguments.proposals, arguments.detections)
    rules = rule_names(arguments.rules)
    out = {arguments.precision: arguments.out}
    keep_fp32 = _kept_groups(arguments)
    (report,) = run(arguments.checkpoint, out, shapes=shapes, keep_fp32=keep_fp32, rules=rules)
    check = report.verification
    print(
        f"{report.path}: {report.nodes} nodes, {arguments.precision}; ONNX Runtime agrees with "
        f"torch on {check.found} of {check.asked} {report.contract.task}"
    )
    for outcome in report.rules:
        print(f"  {outcome}")
    did = {outcome.rule: dataclasses.asdict(outcome) for outcome in report.rules}
    return {
        "onnx": str(report.path),
        "nodes": report.nodes,
        "rules": did,
        **dataclasses.asdict(check),
    }


def build(arguments: Arguments) -> Result:
    """ONNX to engine."""
    from .engines.builder import build_engine

    report = build_engine(
        arguments.onnx,
        arguments.out,
        arguments.runtime,
        arguments.operators,
        workspace_bytes=arguments.workspace_bytes,
        timing_cache_path=arguments.timing_cache,
        min_fp16=arguments.min_fp16,
        tf32=arguments.tf32,
    )
    network = report.network
    print(
        f"{report.engine_path}: {report.engine_path.stat().st_size / 1e6:.1f} MB, "
        f"{len(network.layers)} layers, {network.fp16_mac_share:.0%} of MACs in FP16; "
        f"operators {report.operators}: {report.operators_reason}"
    )
    for note in report.notes:
        print(f"  {note}")
    return {"engine": str(report.engine_path), "sidecar": str(report.sidecar_path)}


def predict(arguments: Arguments) -> Result:
    """Pictures, folders or videos to overlays and COCO results."""
    from . import load
    from .runtime.sources import predict_sources

    with load(arguments.model.path, arguments.model.session) as predictor:
        written = predict_sources(
            predictor,
            arguments.sources,
            arguments.out,
            arguments.score,
            nms_iou=arguments.nms_iou,
        )
    print(f"{arguments.out}: {written.pictures} pictures, {written.instances} instances")
    return dataclasses.asdict(written)


def evaluate(arguments: Arguments) -> Result:
    """COCO AP (AR of proposals), and the parity gate against a reference."""
    coco = _coco(arguments.data, arguments.split, arguments.images)
    candidate = measured(arguments.model, coco)
    accuracy = candidate.accuracy
    if arguments.against is None:
        _print_accuracy([accuracy])
        return {"box": accuracy.box, "mask": accuracy.mask}
    reference = measured(arguments.against, coco)
    _print_accuracy([reference.accuracy, accuracy])
    from .eval import hop_between, hop_json

    hop = hop_between(reference, candidate)
    _print_hops([hop])
    for failure in hop.failures:
        print(f"gate failed: {failure}")
    return {**hop_json(hop), "exit_code": 1 if hop.failures else 0}


def bench(arguments: Arguments) -> Result:
    """Latency beside accuracy; with --operators, of the custom operators alone."""
    given = {"samples": arguments.samples, "seconds": arguments.seconds}
    asked = {name: value for name, value in given.items() if value is not None}
    if arguments.operators:
        return _bench_operators(arguments, asked)
    if not arguments.models:
        raise InputError(
            "bench: no MODEL found; expected at least one checkpoint, .onnx or .engine. Name it, or"
            " ask for --operators, which needs none."
        )
    from . import load
    from .eval import BenchOptions, Target, bench_json, environment, latency_table, print_table
    from .eval import bench as run
    from .runtime.files import sha256_of

    if arguments.html is not None and arguments.html.suffix != ".html":
        raise InputError(
            f"{arguments.html}: a report ends in .html; found '{arguments.html.suffix}'. Rename it."
        )
    accuracies, images = _bench_data(arguments)
    with contextlib.ExitStack() as stack:
        targets = [
            Target(
                model.name,
                stack.enter_context(load(model.path, model.session)),
                sha256_of(model.path),
            )
            for model in arguments.models
        ]
        result = run(targets, images, BenchOptions(**asked))
    print_table(latency_table(result, accuracies), _console())
    if arguments.html:
        from .eval import Report, write_report

        report = Report(
            "maskrt bench",
            f"{len(images)} pictures",
            environment([model.path for model in arguments.models]),
            commands=(f"maskrt bench {' '.join(map(str, arguments.models))}",),
            accuracy=tuple(accuracies),
            latency=result,
        )
        write_report(report, arguments.html)
        print(f"{arguments.html}: written")
    return bench_json(result)


def _bench_operators(arguments: Arguments, asked: dict[str, Any]) -> Result:
    from .eval.operator_bench import OPTIONS
    from .operator_bench import bench_operators

    if arguments.models or arguments.data or arguments.html:
        raise InputError(
            "bench: --operators together with MODEL, --data or --html found; expected it alone, as "
            "it times operators on inputs of its own. Leave the others away."
        )
    return bench_operators(dataclasses.replace(OPTIONS, **asked))


def bisect(arguments: Arguments) -> Result:
    """The node groups that FP16 cannot have, as a precision file; see bisect_precision.py."""
    from .bisect_precision import run_bisect

    coco = _coco(arguments.data, arguments.split, arguments.images)
    return run_bisect(arguments.checkpoint, arguments.out, coco, arguments.metric, arguments.gate)


def inspect(arguments: Arguments) -> Result:
    """What a file is."""
    from .inspection import inspect_file

    return inspect_file(arguments.file)


def doctor(arguments: Arguments) -> Result:
    """What this machine can run."""
    del arguments
    from .engines.doctor import diagnose

    findings = diagnose()
    for finding in findings:
        print(f"{'ok     ' if finding.ok else 'missing'}  {finding.name}: {finding.found}")
        if not finding.ok:
            print(f"         {finding.purpose}; {finding.fix}")
    return {"findings": [dataclasses.asdict(finding) for finding in findings]}


def measured(model: Model, coco: CocoData) -> Measurement:
    """Open one artefact and measure it on `coco`.

    ONNX Runtime's CPU provider computes FP16 files in FP32; their accuracy is taken from a
    copy that rounds every FP16 tensor (`export/half_emulation.py`), and the table says so.
    """
    from . import load
    from .eval import measure

    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(load(model.path, model.session))
        backend = predictor.session.backend
        if predictor.contract.precision == "fp16" and backend == "onnxruntime-cpu":
            from .export.half_emulation import emulated_file

            copy = stack.enter_context(emulated_file(model.path))
            predictor = stack.enter_context(load(copy, "onnxruntime-cpu"))
            backend = "onnxruntime-cpu, FP16 emulated"
        result = measure(predictor, model.path, coco)
        accuracy = dataclasses.replace(result.accuracy, name=model.name, backend=backend)
        return dataclasses.replace(result, accuracy=accuracy)


def _kept_groups(arguments: Arguments) -> tuple[str, ...]:
    """What a precision file keeps in FP32; nothing without one."""
    if arguments.keep_fp32 is None:
        return ()
    if arguments.precision != "fp16":
        raise InputError(
            f"--keep-fp32 {arguments.keep_fp32}: --precision {arguments.precision} is FP32 "
            "throughout; expected fp16. Add --precision fp16."
        )
    from .export.precision_file import groups_for

    return groups_for(arguments.keep_fp32, arguments.checkpoint)


def _coco(folder: Path, split: Split, images: int | None) -> CocoData:
    from .eval import load_coco

    coco = load_coco(folder, split)
    if images is not None:
        _at_least_one(images=images)
        coco = coco.first(images)
    return coco


def _bench_data(arguments: Arguments) -> tuple[list[Accuracy], list[Any]]:
    """Accuracies on --data and its pictures; without data, drawn pictures and no accuracy."""
    if arguments.data is None:
        import numpy as np

        from .train.shape_scenes import draw_scene

        return [], [draw_scene(np.random.default_rng([11, i])).image for i in range(32)]
    from .eval.predictions import read_record

    coco = _coco(arguments.data, arguments.split, arguments.images)
    accuracies = [measured(model, coco).accuracy for model in arguments.models]
    return accuracies, [read_record(record) for record in coco.images[:64]]


def _print_accuracy(accuracies: list[Accuracy]) -> None:
    from .eval import accuracy_tables, print_table

    for table in accuracy_tables(accuracies):
        print_table(table, _console())


def _print_hops(hops: list[Hop]) -> None:
    from .eval import hop_tables, print_table

    for table in hop_tables(hops):
        print_table(table, _console())


def _console() -> Any:
    from rich.console import Console

    return Console()


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"--{name.replace('_', '-')} {count}: expected at least 1.")


VERBS: dict[str, Callable[[Arguments], Result]] = {
    "demo": demo,
    "data": data,
    "new": new,
    "import": import_weights,
    "train": train,
    "export": export,
    "build": build,
    "predict": predict,
    "eval": evaluate,
    "bench": bench,
    "bisect": bisect,
    "inspect": inspect,
    "doctor": doctor,
}
