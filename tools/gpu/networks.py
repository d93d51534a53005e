"""The stages of `tools/gpu` about full-size networks: their files, their latency, their layers.

The networks are untrained: their shapes are fixed, so a run costs what a trained one costs, and
accuracy is the demo's matter. Every way to run one is first tried alone, on noise; those that work
are then timed in turns by `bench_models`, which also says how far each is from the physical floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...engines.flavours import load_flavour
from ...engines.layers.layer_profile import LayerProfile, profile_engine
from ...eval import BenchOptions, Table, to_json
from ...runtime.errors import BuildError, InputError, MaskRTError, first_line
from ...runtime.pictures.noise import noise_batch
from ...runtime.sessions.open import ModelRef
from ...runtime.sessions.options import SessionOptions
from ...workflows import bench_models
from ...workflows.open import open_model
from .record import Found, NotRunError, Setting

SHORT = BenchOptions(samples=60, warmup_calls=30, warmup_seconds=5.0)
"""20 turns of 3 calls, so that the interval is a whole one and a stage takes a minute or two."""
REHEARSED = BenchOptions(samples=2, warmup_calls=2)
SHOWN_LAYERS = 12
"""In the table; the record has all."""
NOT_MADE = "not there: see the stage that makes it"


@dataclass(frozen=True)
class Network:
    """What is measured in full size, and what stands for it in a rehearsal."""

    recipe: str
    small: str
    overrides: tuple[str, ...] = ()


NETWORKS = {
    "lsc": Network("lsc_mask_rcnn_r50_512", "lsc_mask_rcnn_tiny", ("input.canvas_hw=[800,1344]",)),
    "baseline": Network("mask_rcnn_r50_c4", "mask_rcnn_tiny", ("input.canvas_hw=[800,1344]",)),
    "fastmask": Network("fastmask_r39", "fastmask_tiny"),
    "fpn": Network("mask_rcnn_r50_fpn", "mask_rcnn_fpn_tiny", ("input.canvas_hw=[800,1344]",)),
}
"""By the name that its stages have: framework 1 of the paper, its baseline, FastMask, FPN."""


@dataclass(frozen=True)
class Files:
    """Where a network's files are, in a folder of this run."""

    checkpoint: Path
    fp32: Path
    fp16: Path
    engines: dict[Path, tuple[str, str]]
    """What builds them, and the operators asked of it."""


def files_of(setting: Setting, name: str) -> Files:
    """The files of one of `NETWORKS`."""
    folder = setting.files
    return Files(
        folder / f"{name}.safetensors",
        folder / f"{name}-fp32.onnx",
        folder / f"{name}-fp16.onnx",
        {
            folder / f"{name}-fp16.engine": ("tensorrt", "auto"),
            folder / f"{name}-fp16-portable.engine": ("tensorrt", "portable"),
            folder / f"{name}-fp16-rtx.engine": ("tensorrt-rtx", "auto"),
        },
    )


def make_onnx(name: str, setting: Setting) -> Found:
    """An untrained checkpoint, and ONNX files of it in FP32 and FP16, checked against torch."""
    from ...export.to_onnx import export
    from ...workflows import new_checkpoint

    network, files = NETWORKS[name], files_of(setting, name)
    files.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if setting.rehearsal:
        new_checkpoint(network.small, files.checkpoint, overwrite=True)
    else:
        new_checkpoint(network.recipe, files.checkpoint, network.overrides, overwrite=True)
    reports = export(files.checkpoint, {"fp32": files.fp32, "fp16": files.fp16})
    return Found(sentences=tuple(f"{r.path.name}: {r.nodes} nodes; {r.agreement}" for r in reports))


def make_engines(name: str, setting: Setting) -> Found:
    """FP16 engines by each TensorRT that is installed, ONNX Runtime's provider included.

    With this project's kernels as plugins and without, so that both can be compared. The provider's
    engine stays in ONNX Runtime's cache: the stage that times it does not wait for it.
    """
    files = files_of(setting, name)
    if not files.fp16.exists():
        raise NotRunError({files.fp16.name: NOT_MADE})
    sentences, absent, failures = [], {}, []
    for engine, (runtime, operators) in files.engines.items():
        engine.unlink(missing_ok=True)  # of another TensorRT: it must not be timed as this one's
        try:
            flavour = load_flavour(runtime)
        except BuildError as err:
            absent[engine.name] = str(err)
            continue
        if operators == "portable" and not flavour.has_plugins:
            absent[engine.name] = f"{flavour} takes no plugins: the other engine is this one"
            continue
        try:
            sentences.append(_built(files.fp16, engine, runtime, operators))
        except MaskRTError as err:
            failures.append(f"{engine.name}: {err}")
    provider = ModelRef(files.fp16, "onnxruntime-tensorrt")
    try:
        try_alone(provider)
        sentences.append(f"{provider.name}: built and run once")
    except MaskRTError as err:
        absent[provider.name] = str(err)
    if not sentences and not failures:
        raise NotRunError(absent)
    return Found(sentences=tuple(sentences), absent=absent, failures=tuple(failures))


def _built(onnx: Path, engine: Path, runtime: str, operators: str) -> str:
    from ...workflows import build_engine

    cache = engine.with_name(f"{runtime}.timing-cache")
    report = build_engine(onnx, engine, runtime, operators, timing_cache_path=cache, progress=False)
    return (
        f"{engine.name}: {engine.stat().st_size / 1e6:.1f} MB, built by "
        f"{report.fingerprint.runtime} {report.fingerprint.tensorrt_version} in "
        f"{report.fingerprint.build_seconds:.0f} s; operators {report.operators}: "
        f"{report.operators_reason}; {report.engine_words}"
    )


def bench_network(name: str, setting: Setting) -> Found:
    """Latency of every way to run one network here, and its floor."""
    rows, absent, failures = [], {}, []
    for model in _rows(files_of(setting, name), setting.rehearsal):
        print(f"{model}: tried alone", flush=True)
        try:
            try_alone(model)
        except MaskRTError as err:
            absent[model.name] = str(err)
        except Exception as err:  # torch's and ONNX Runtime's own share no base class
            failures.append(f"{model.name}: {type(err).__name__}: {first_line(err)}")
        else:
            rows.append(model)
    if not rows and not failures:
        raise NotRunError(absent)
    if not rows:
        return Found(absent=absent, failures=tuple(failures))
    run = bench_models(rows, REHEARSED if setting.rehearsal else SHORT, on_step=print)
    return Found(run.tables, run.sentences, absent, tuple(failures), run.to_json())


def _rows(files: Files, rehearsal: bool) -> Iterator[ModelRef]:
    """The first is what the others are compared with."""
    yield ModelRef(files.checkpoint, "torch-fp16")
    yield ModelRef(files.checkpoint, "torch-compile-fp16")
    yield ModelRef(files.fp32, "onnxruntime-cuda")
    yield ModelRef(files.fp16, "onnxruntime-cuda")
    yield ModelRef(files.fp16, "onnxruntime-tensorrt")
    for engine in files.engines:
        yield ModelRef(engine)
        yield ModelRef(engine, options=SessionOptions(pictures="gpu"))
    if rehearsal:
        yield ModelRef(files.checkpoint, "torch")
        yield ModelRef(files.fp32, "onnxruntime-cpu")


def try_alone(model: ModelRef) -> None:
    """Open a model alone and predict once on noise.

    Raises:
        MaskRTError: it cannot be done here, and why; other libraries' errors come as they are.
    """
    if not model.path.exists():
        raise InputError(NOT_MADE)
    with open_model(model) as predictor:
        images, _ = noise_batch(predictor.contract)
        predictor.predict([images[0]])


def profile_layers(setting: Setting) -> Found:
    """TensorRT's own time of every layer of every engine that was built."""
    engines = [engine for name in NETWORKS for engine in files_of(setting, name).engines]
    profiles, absent = [], {}
    for engine in engines:
        if not engine.exists():
            absent[engine.name] = NOT_MADE
            continue
        try:
            profiles.append(profile_engine(engine))
        except MaskRTError as err:
            absent[engine.name] = str(err)
    if not profiles:
        raise NotRunError(absent)
    details = {Path(profile.engine).name: to_json(profile) for profile in profiles}
    return Found(tuple(map(_layer_table, profiles)), absent=absent, details=details)


def _layer_table(profile: LayerProfile) -> Table:
    rows = tuple(
        (
            " + ".join(layer.onnx) or layer.name,
            *(f"{layer.ms:.4f}", f"{layer.share:.1%}", layer.precision or "-"),
            f"{layer.macs / 1e9:.3f}",
        )
        for layer in profile.layers[:SHOWN_LAYERS]
    )
    note = f"{len(profile.layers)} layers, {profile.total_ms:.3f} ms in all."
    notes = (note, *([profile.missing] if profile.missing else []))
    columns = ("layer", "ms", "share", "precision", "GMACs")
    return Table(f"Layers of {Path(profile.engine).name}", columns, rows, notes, keys=1)
