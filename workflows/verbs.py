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

from ..runtime.errors import InputError
from ..runtime.sessions.open import Model

if TYPE_CHECKING:
    from ..eval import Accuracy, CocoData, Hop, Measurement
    from ..eval.coco.data import Split

Arguments = argparse.Namespace
Result = dict[str, Any]


def demo(arguments: Arguments) -> Result:
    """See demo.py."""
    from .demo import run_demo

    return run_demo(arguments.out, arguments.images, measured)


def data(arguments: Arguments) -> Result:
    """Draw the shapes data set."""
    from ..train.shapes.drawing import draw_shapes

    _at_least_one(images=arguments.images, val_images=arguments.val_images)
    draw_shapes(arguments.out, arguments.images, arguments.val_images, arguments.seed)
    print(f"{arguments.out}: {arguments.images} train and {arguments.val_images} val pictures")
    return {"out": str(arguments.out)}


def new(arguments: Arguments) -> Result:
    """Write an untrained checkpoint."""
    from ..train.recipes.recipe import load_recipe
    from ..train.weights.checkpoint import new_checkpoint

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    new_checkpoint(recipe, arguments.out, arguments.backbone)
    print(f"{arguments.out}: untrained {recipe.name}")
    return {"checkpoint": str(arguments.out)}


def import_weights(arguments: Arguments) -> Result:
    """Convert published weights."""
    from ..train.weights.import_weights import import_checkpoint

    report = import_checkpoint(arguments.file, arguments.format, arguments.out)
    print(f"{arguments.out}: {report}")
    return {"checkpoint": str(arguments.out)}


def train(arguments: Arguments) -> Result:
    """Train, then measure the result on the val split (the first rank only, under torchrun)."""
    from ..train.loop import is_first_rank
    from ..train.loop import train as run
    from ..train.recipes.recipe import load_recipe

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
    from ..train.weights.checkpoint import record_accuracy

    record_accuracy(path, accuracy.measured)
    return {"checkpoint": str(path), **accuracy.measured}


def export(arguments: Arguments) -> Result:
    """Checkpoint to ONNX."""
    from ..export.rules.exact_rules import rule_names
    from ..export.to_onnx import export as run
    from ..train.deploy.deployment import Shapes

    shapes = Shapes(arguments.canvas, arguments.batch, arguments.proposals, arguments.detections)
    rules = rule_names(arguments.rules)
    out = {arguments.precision: arguments.out}
    (report,) = run(
        arguments.checkpoint,
        out,
        shapes=shapes,
        keep_fp32=_kept_groups(arguments),
        rules=rules,
        calibration=_calibration(arguments),
    )
    check = report.verification
    print(
        f"{report.path}: {report.nodes} nodes, {arguments.precision}; ONNX Runtime agrees with "
        f"torch on {check.found} of {check.asked} {report.contract.task}"
    )
    for outcome in (*report.rules, *filter(None, [report.int8])):
        print(f"  {outcome}")
    did = {outcome.rule: dataclasses.asdict(outcome) for outcome in report.rules}
    return {
        "onnx": str(report.path),
        "nodes": report.nodes,
        "rules": did,
        "int8": None if report.int8 is None else dataclasses.asdict(report.int8),
        **dataclasses.asdict(check),
    }


def build(arguments: Arguments) -> Result:
    """ONNX to engine."""
    from ..engines.builder import build_engine

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
    print(f"  {report.engine_words}")
    for note in report.notes:
        print(f"  {note}")
    return {"engine": str(report.engine_path), "sidecar": str(report.sidecar_path)}


def predict(arguments: Arguments) -> Result:
    """Pictures, folders or videos to overlays and COCO results."""
    from .. import load
    from ..runtime.pictures.sources import predict_sources

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
    from ..eval import hop_between, hop_json

    hop = hop_between(reference, candidate)
    _print_hops([hop])
    for failure in hop.failures:
        print(f"gate failed: {failure}")
    return {**hop_json(hop), "exit_code": 1 if hop.failures else 0}


def bench(arguments: Arguments) -> Result:
    """Latency beside accuracy, see bench_models.py; with --operators, of the operators alone."""
    given = {"samples": arguments.samples, "seconds": arguments.seconds}
    asked = {name: value for name, value in given.items() if value is not None}
    if arguments.operators:
        return _bench_operators(arguments, asked)
    if not arguments.models:
        raise InputError(
            "bench: no MODEL found; expected at least one checkpoint, .onnx or .engine. Name it, or"
            " ask for --operators, which needs none."
        )
    from ..eval import BenchOptions
    from .bench import bench_models

    coco = None
    if arguments.data is not None:
        coco = _coco(arguments.data, arguments.split, arguments.images)
    return bench_models(arguments, BenchOptions(**asked), coco, measured)


def _bench_operators(arguments: Arguments, asked: dict[str, Any]) -> Result:
    from ..eval.timing.operators import OPTIONS
    from .operator_bench import bench_operators

    others = (arguments.data, arguments.html, arguments.streams, arguments.batch, arguments.against)
    if arguments.models or any(other is not None for other in others):
        raise InputError(
            "bench: --operators together with MODEL, --data or --html, or with an option for them, "
            "found; expected it alone, as it times operators on inputs of its own. Leave the "
            "others away."
        )
    return bench_operators(dataclasses.replace(OPTIONS, **asked))


def bisect(arguments: Arguments) -> Result:
    """The node groups that FP16 cannot have, as a precision file; see bisect_precision.py."""
    from .bisection import run_bisect

    coco = _coco(arguments.data, arguments.split, arguments.images)
    return run_bisect(arguments.checkpoint, arguments.out, coco, arguments.metric, arguments.gate)


def inspect(arguments: Arguments) -> Result:
    """What a file is."""
    from .inspection import inspect_file

    return inspect_file(arguments.file)


def doctor(arguments: Arguments) -> Result:
    """What this machine can run."""
    del arguments
    from ..engines.doctor import diagnose

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
    from .. import load
    from ..eval import measure

    with contextlib.ExitStack() as stack:
        predictor = stack.enter_context(load(model.path, model.session))
        backend = predictor.session.backend
        if predictor.contract.precision == "fp16" and backend == "onnxruntime-cpu":
            from ..export.precision.emulation import emulated_file

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
            f"--keep-fp32 {arguments.keep_fp32}: --precision {arguments.precision} found; expected "
            "fp16, which its groups were measured in. Add --precision fp16."
        )
    from ..export.precision.precision_file import groups_for

    return groups_for(arguments.keep_fp32, arguments.checkpoint)


def _calibration(arguments: Arguments) -> tuple[Path, ...]:
    """The pictures that int8 is calibrated on; none for other precisions."""
    asked = arguments.precision == "int8"
    if asked == (arguments.calibrate is None):
        found = "no --calibrate" if asked else f"--calibrate {arguments.calibrate}"
        raise InputError(
            f"--precision {arguments.precision}: {found} found; expected a COCO-format folder of "
            "pictures for int8, and for int8 alone. Name the folder that you train on."
        )
    if not asked:
        return ()
    _at_least_one(calibration_images=arguments.calibration_images)
    coco = _coco(arguments.calibrate, "train", arguments.calibration_images)
    return tuple(record.path for record in coco.images)


def _coco(folder: Path, split: Split, images: int | None) -> CocoData:
    from ..eval import load_coco

    coco = load_coco(folder, split)
    if images is not None:
        _at_least_one(images=images)
        coco = coco.first(images)
    return coco


def _print_accuracy(accuracies: list[Accuracy]) -> None:
    from ..eval import accuracy_tables, print_table

    for table in accuracy_tables(accuracies):
        print_table(table, _console())


def _print_hops(hops: list[Hop]) -> None:
    from ..eval import hop_tables, print_table

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
