"""The main job on this machine, with the shipped checkpoints.

    drawn val set -> checkpoint -> ONNX FP32, FP16 -> TensorRT engine
                  -> accuracy, hops, latency -> report.html

Every number is measured in the run. Where an NVIDIA GPU is missing, engines are still built (by
TensorRT-RTX, which needs none) but not run, and the tables say which rows a GPU would add.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import BuildError, SessionError
from ..runtime.files import sha256_of
from ..runtime.sessions.open import CHECKPOINT, ModelRef
from ..runtime.sessions.ort_module import provider_trouble
from ..runtime.sessions.ort_providers import CUDA
from .data import draw_data, load_data, require_at_least_one
from .graph_precision import precision_maps
from .latency.findings import Findings, Opened, find_floor
from .latency.floor import probes_for
from .measure import measured, measured_hop
from .open import load
from .prediction import predict_sources
from .shipped import CHECKPOINTS

if TYPE_CHECKING:
    from ..engines.builder import BuildReport
    from ..eval import Accuracy, Bench, CocoData, Hop, Report, Table
    from ..eval.coco.predictions import Prediction

    Say = Callable[[str], None]

SHIPPED = ("lsc_mask_rcnn_tiny", "mask_rcnn_fpn_tiny", "fastmask_tiny")
ENDS = ("fp32.onnx", "fp16.onnx", "fp16.engine")
"""Of the files made from each."""
SEED = 2026
"""Of the demo's val set; the shipped checkpoints were trained on seed 0."""
TIMED_PICTURES = 16
OVERLAYS = 6
"""Pictures drawn for each network."""


@dataclass(frozen=True)
class Demo:
    """What the demo measured and wrote."""

    report: Path
    """The page; `.md` and `.json` beside it."""
    engines: tuple[Path, ...]
    accuracies: tuple[Accuracy, ...]
    hops: tuple[Hop, ...]
    tables: tuple[Table, ...]
    summary: tuple[str, ...]
    """Sentences: gates passed, engines built."""

    @property
    def passed(self) -> bool:
        """Whether every gate did."""
        return not any(hop.failures for hop in self.hops)


@dataclass
class _Measured:
    """What has been measured so far."""

    accuracies: list[Accuracy] = field(default_factory=list)
    hops: list[Hop] = field(default_factory=list)
    runnable: list[Path] = field(default_factory=list)
    """Artefacts that this machine can run, in bench order."""
    refused: list[str] = field(default_factory=list)
    """Sentences about engines that do not open on the GPU that is here."""
    predictions: dict[Path, list[Prediction]] = field(default_factory=dict)
    builds: list[BuildReport] = field(default_factory=list)


def run_demo(out: Path, images: int = 60, *, on_step: Say = lambda line: None) -> Demo:
    """Run the whole chain into folder `out`, accuracy measured on `images` drawn pictures.

    Args:
        out: folder for pictures, ONNX files, engines and the report.
        images: val pictures.
        on_step: told what is being done.

    Raises:
        InputError: `images` is below 1, `out` cannot be written, or the extra `report` is missing.
        ExportError, BuildError: a shipped network cannot be exported or built here.
    """
    from ..eval import report_tables, require_report, write_report

    require_at_least_one(images=images)
    require_report()
    folder = draw_data(out / f"shapes-{images}", images=1, val_images=images, seed=SEED)
    data = load_data(folder)
    found = _Measured()
    for name in SHIPPED:
        _one_network(CHECKPOINTS / f"{name}.safetensors", out, data, found, on_step)
    on_step("latency of all that runs here, interleaved")
    latency, findings = _timed(found.runnable, data)
    report = _report(data, found, latency, findings, _commands(out, folder, images))
    _draw_overlays(out / "pictures", found, data)
    return Demo(
        report=write_report(report, out / "report.html")[0],
        engines=tuple(build.engine_path for build in found.builds),
        accuracies=tuple(found.accuracies),
        hops=tuple(found.hops),
        tables=tuple(report_tables(report)),
        summary=(_verdict(found), *report.summary),
    )


def _one_network(checkpoint: Path, out: Path, data: CocoData, found: _Measured, say: Say) -> None:
    """Export, build and measure one checkpoint."""
    from ..engines.builder import build_engine
    from ..export.to_onnx import export

    fp32, fp16, engine = (out / f"{checkpoint.stem}-{end}" for end in ENDS)
    say(f"{checkpoint.stem}: export to ONNX (FP32, FP16), checked against torch")
    export(checkpoint, {"fp32": fp32, "fp16": fp16})
    runtime = _engine_runtime()
    say(f"{checkpoint.stem}: build {runtime} engine")
    found.builds.append(build_engine(fp16, engine, runtime))
    engines = [engine] if _has_gpu() and _opens(engine, found) else []
    say(f"{checkpoint.stem}: accuracy on {len(data.images)} pictures")
    _measure_chain([checkpoint, fp32, fp16, *engines], data, found)
    # A CPU computes FP16 files in FP32: their accuracy is emulated, their latency means nothing.
    halves = [fp16] if provider_trouble(CUDA) is None else []
    found.runnable += [checkpoint, fp32, *halves, *engines]


def _opens(engine: Path, found: _Measured) -> bool:
    """Whether the GPU here runs the engine: TensorRT-RTX builds anywhere and knows few GPUs."""
    try:
        load(engine).close()
    except SessionError as err:
        found.refused.append(f"Without rows for {engine.name}: {err}")
        return False
    return True


def _measure_chain(artefacts: list[Path], data: CocoData, found: _Measured) -> None:
    """Accuracy of each artefact, and the hop from each to the next."""
    chain = [measured(ModelRef(path), data) for path in artefacts]
    found.accuracies += [link.accuracy for link in chain]
    hops = zip(itertools.pairwise(chain), artefacts[1:], strict=True)
    found.hops += [measured_hop(*pair, path) for pair, path in hops]
    found.predictions |= {p: m.predictions for p, m in zip(artefacts, chain, strict=True)}


def _timed(paths: list[Path], data: CocoData) -> tuple[Bench, Findings]:
    """Latency, and beside it how far it is from this machine's floor."""
    from ..eval import Candidate, bench, quick_options, read_record

    pictures, findings = [read_record(r) for r in data.images[:TIMED_PICTURES]], Findings()
    with contextlib.ExitStack() as stack:
        opened = [
            Opened(p, Candidate(p.name, stack.enter_context(load(p)), sha256_of(p))) for p in paths
        ]
        candidates = [one.candidate for one in opened]
        probes = probes_for(one.predictor.session.backend for one in candidates)
        result = bench(candidates, pictures, quick_options(), peak_probes=probes)
        find_floor(findings, opened, result)
    return result, findings


def _report(
    data: CocoData,
    found: _Measured,
    latency: Bench,
    findings: Findings,
    commands: tuple[str, ...],
) -> Report:
    from ..eval import Report, environment, example_pictures

    pictures = [
        example_pictures(
            data, found.predictions[path], data.class_names, count=4, network=path.stem
        )
        for path in _checkpoints(found)
    ]
    return Report(
        title="maskrt demo",
        dataset=f"{len(data.images)} drawn val pictures (seed {SEED}), none seen in training.",
        environment=environment(_artefacts(found)),
        summary=(*_engines(found), *found.refused),
        commands=commands,
        accuracy=tuple(found.accuracies),
        hops=tuple(found.hops),
        latency=latency,
        precision=precision_maps(found.predictions),
        tables=tuple(findings.tables),
        details=findings.details,
        pictures=tuple(itertools.chain.from_iterable(pictures)),
    )


def _commands(out: Path, folder: Path, images: int) -> tuple[str, ...]:
    """All at once, and each step alone."""
    drawn = ("--images", 1, "--val-images", images, "--seed", SEED)
    steps: list[tuple[object, ...]] = [
        ("demo", "--out", out, "--images", images),
        ("data", "shapes", "--out", folder, *drawn),
    ]
    for name in SHIPPED:
        fp32, fp16, engine = (out / f"{name}-{end}" for end in ENDS)
        steps += [
            ("export", name, "-o", fp32),
            ("export", name, "-o", fp16, "--precision", "fp16"),
            ("build", fp16, "-o", engine, "--runtime", _engine_runtime()),
            ("eval", fp32, "--data", folder, "--against", name),
            ("eval", fp16, "--data", folder, "--against", fp32),
        ]
    files = [out / f"{name}-{ENDS[0]}" for name in SHIPPED]
    steps.append(("bench", *SHIPPED, *files, "--data", folder))
    return tuple(shlex.join(["maskrt", *map(str, step)]) for step in steps)


def _artefacts(found: _Measured) -> list[Path]:
    """Every file that the report speaks of, engines that do not run here too."""
    return list(dict.fromkeys([*found.predictions, *(build.engine_path for build in found.builds)]))


def _verdict(found: _Measured) -> str:
    """For the terminal; the page has a line of its own."""
    passed = sum(not hop.failures for hop in found.hops)
    return f"Parity gates passed: {passed} of {len(found.hops)}."


def _engines(found: _Measured) -> tuple[str, ...]:
    return tuple(
        f"{b.engine_path.name}: {b.engine_path.stat().st_size / 1e6:.1f} MB, built by "
        f"{b.fingerprint.runtime} {b.fingerprint.tensorrt_version}, "
        f"{b.network.fp16_mac_share:.0%} of MACs in FP16."
        for b in found.builds
    )


def _draw_overlays(folder: Path, found: _Measured, data: CocoData) -> None:
    """Draw what each checkpoint finds on a few pictures, of proposals the best of each object."""
    pictures = [record.path for record in data.images[:OVERLAYS]]
    for path in _checkpoints(found):
        with load(path) as predictor:
            nms_iou = 0.5 if predictor.contract.task == "proposals" else None
            predict_sources(predictor, pictures, folder / path.stem, 0.5, nms_iou=nms_iou)


def _checkpoints(found: _Measured) -> list[Path]:
    return [path for path in found.runnable if path.suffix == CHECKPOINT]


def _has_gpu() -> bool:
    from ..runtime.gpu.cuda import missing_device

    return missing_device() is None


def _engine_runtime() -> str:
    """Plain TensorRT where it can build, TensorRT-RTX anywhere else."""
    from ..engines.flavours import load_flavour

    if not _has_gpu():
        return "tensorrt-rtx"
    try:
        return load_flavour("tensorrt").name
    except BuildError:
        return "tensorrt-rtx"
