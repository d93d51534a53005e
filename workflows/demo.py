"""`maskrt demo`: the main job on this machine, with the shipped checkpoints.

    drawn val set -> checkpoint -> ONNX FP32, FP16 -> TensorRT engine
                  -> accuracy, hops, latency -> report.html

Every number printed is measured in the run. Where an NVIDIA GPU is missing, engines are still
built (by TensorRT-RTX, which needs none) but not run, and the tables say which rows a GPU would
add.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.files import sha256_of
from ..runtime.sessions.open import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engines.builder import BuildReport
    from ..eval import Accuracy, Bench, CocoData, Hop, Measurement
    from ..eval.coco.predictions import Prediction

    Measure = Callable[[Model, CocoData], Measurement]

CHECKPOINTS = Path(__file__).parents[1] / "train" / "checkpoints"
SHIPPED = ("lsc_mask_rcnn_tiny", "mask_rcnn_tiny", "fastmask_tiny")
SEED = 2026
"""Of the demo's val set; the shipped checkpoints were trained on seed 0."""


@dataclass
class Measured:
    """What the demo has measured so far."""

    accuracies: list[Accuracy] = field(default_factory=list)
    hops: list[Hop] = field(default_factory=list)
    runnable: list[Path] = field(default_factory=list)
    """Artefacts that this machine can run, in bench order."""
    predictions: dict[Path, list[Prediction]] = field(default_factory=dict)
    builds: list[BuildReport] = field(default_factory=list)


def run_demo(out: Path, images: int, measure: Measure) -> dict[str, Any]:
    """Run the whole chain into folder `out` on `images` pictures; returns what was written.

    `measure` opens an artefact and measures it, as `maskrt eval` does.
    """
    from ..eval import load_coco
    from ..train.shapes.drawing import draw_shapes

    data = draw_shapes(out / f"shapes-{images}", images=1, val_images=images, seed=SEED)
    coco = load_coco(data, "val")
    measured = Measured()
    for name in SHIPPED:
        _one_network(CHECKPOINTS / f"{name}.safetensors", out, coco, measure, measured)
    latency = _bench(measured.runnable, coco)
    summary = _summary(measured)
    page = _report(out, coco, measured, latency, summary)
    _overlays(out / "pictures", measured, coco)
    for line in (*summary, f"Report: {page}"):
        print(line)
    failed = [hop for hop in measured.hops if hop.failures]
    return {
        "report": str(page),
        "engines": [str(build.engine_path) for build in measured.builds],
        "accuracy": {a.name: {"box": a.box, "mask": a.mask} for a in measured.accuracies},
        "exit_code": 1 if failed else 0,
    }


def _one_network(
    checkpoint: Path, out: Path, coco: CocoData, measure: Measure, measured: Measured
) -> None:
    """Export, build and measure one checkpoint."""
    from ..engines.builder import build_engine
    from ..export.to_onnx import export

    fp32, fp16 = (out / f"{checkpoint.stem}-{p}.onnx" for p in ("fp32", "fp16"))
    print(f"{checkpoint.stem}: export to ONNX (FP32, FP16), checked against torch")
    export(checkpoint, {"fp32": fp32, "fp16": fp16})
    runtime = _engine_runtime()
    engine = out / f"{checkpoint.stem}-fp16.engine"
    print(f"{checkpoint.stem}: build {runtime} engine")
    measured.builds.append(build_engine(fp16, engine, runtime))
    artefacts = [checkpoint, fp32, fp16] + ([engine] if _has_gpu() else [])
    _measure_chain(artefacts, coco, measure, measured)
    # A CPU computes FP16 files in FP32: their accuracy is emulated, their latency means nothing.
    measured.runnable += artefacts if _has_gpu() else [checkpoint, fp32]


def _measure_chain(
    artefacts: list[Path], coco: CocoData, measure: Measure, measured: Measured
) -> None:
    """Accuracy of each artefact, and the hop from each to the next."""
    from ..eval import hop_between

    chain = [measure(Model(path), coco) for path in artefacts]
    measured.accuracies += [link.accuracy for link in chain]
    measured.hops += [hop_between(*pair) for pair in itertools.pairwise(chain)]
    measured.predictions |= {p: m.predictions for p, m in zip(artefacts, chain, strict=True)}


def _bench(paths: list[Path], coco: CocoData) -> Bench:
    from .. import load
    from ..eval import Target, bench, quick_options, read_record

    pictures = [read_record(record) for record in coco.images[:16]]
    with contextlib.ExitStack() as stack:
        targets = [
            Target(path.name, stack.enter_context(load(path)), sha256_of(path)) for path in paths
        ]
        return bench(targets, pictures, quick_options())


def _summary(measured: Measured) -> tuple[str, ...]:
    engines = [
        f"{b.engine_path.name}: {b.engine_path.stat().st_size / 1e6:.1f} MB, built by "
        f"{b.fingerprint.runtime} {b.fingerprint.tensorrt_version}, "
        f"{b.network.fp16_mac_share:.0%} of MACs in FP16"
        for b in measured.builds
    ]
    passed = sum(not hop.failures for hop in measured.hops)
    return (f"Parity gates passed: {passed} of {len(measured.hops)}.", *engines)


def _report(
    out: Path, coco: CocoData, measured: Measured, latency: Bench, summary: tuple[str, ...]
) -> Path:
    """Write report.html and print its tables."""
    from rich.console import Console

    from ..eval import (
        Report,
        environment,
        example_pictures,
        print_table,
        report_tables,
        write_report,
    )

    pictures = [
        example_pictures(coco, measured.predictions[path], coco.class_names, count=4)
        for path in _checkpoints(measured)
    ]
    report = Report(
        title="maskrt demo",
        dataset=f"{len(coco.images)} drawn val pictures (seed {SEED}), none seen in training",
        environment=environment([*measured.predictions]),
        summary=summary,
        commands=("make demo",),
        accuracy=tuple(measured.accuracies),
        hops=tuple(measured.hops),
        latency=latency,
        pictures=tuple(itertools.chain.from_iterable(pictures)),
    )
    console = Console()
    for table in report_tables(report):
        print_table(table, console)
        console.print()
    return write_report(report, out / "report.html")[0]


def _overlays(folder: Path, measured: Measured, coco: CocoData, count: int = 6) -> None:
    """Draw what each checkpoint finds on a few pictures, of proposals the best of each object."""
    from .. import load
    from ..runtime.pictures.sources import predict_sources

    pictures = [record.path for record in coco.images[:count]]
    for path in _checkpoints(measured):
        with load(path) as predictor:
            nms_iou = 0.5 if predictor.contract.task == "proposals" else None
            out = folder / path.stem
            predict_sources(predictor, pictures, out, 0.5, nms_iou=nms_iou, progress=False)


def _checkpoints(measured: Measured) -> list[Path]:
    return [path for path in measured.runnable if path.suffix == ".safetensors"]


def _has_gpu() -> bool:
    from ..runtime.gpu.cuda import missing_device

    return missing_device() is None


def _engine_runtime() -> str:
    """Plain TensorRT where it can build, TensorRT-RTX anywhere else."""
    from importlib.util import find_spec

    return "tensorrt" if _has_gpu() and find_spec("tensorrt") else "tensorrt-rtx"
