"""ONNX exported by maskrt -> TensorRT engine and its sidecar, in one call for all flavours.

    read ONNX + contract -> choose operators -> parse -> floor on FP16 -> build
        -> open the engine where a GPU allows -> the same floor on its own layers -> write the pair

Every step that can fail comes before the first byte is written.
"""

from __future__ import annotations

import dataclasses
import shlex
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.contract import Contract
from ..runtime.errors import BuildError, InputError
from ..runtime.files import write_bytes
from ..runtime.sidecar import Fingerprint, Sidecar
from .artefact import check_target, take_fingerprint, write_pair
from .compatibility import NOWHERE_ELSE, Compatibility, require_compatibility, set_compatibility
from .flavours import Flavour, load_flavour, request_precision
from .inline import keep_bounds_named, read_exported, tensor_types, weight_files
from .layers.engine_report import built_summary, network_summary, summary_words, to_record
from .layers.scatter import scatter_note
from .layers.summary import Layer, LayerSummary
from .network import make_builder, parse_network, serialize_network
from .plugins.choice import OPERATORS, Prepared, prepare_operators
from .progress import interruptible, show_progress
from .tactic_sources import leave_out_absent


@dataclass(frozen=True)
class BuildReport:
    """What a build made."""

    engine_path: Path
    sidecar_path: Path
    contract: Contract
    fingerprint: Fingerprint
    operators: str
    """`plugin`: our kernels run them; `portable`: inlined to standard ONNX, or there are none."""
    operators_reason: str
    """Why."""
    network: LayerSummary
    """The parsed network: layers, FP16 shares, MACs."""
    engine: LayerSummary | str
    """The engine's own layers where a GPU could read them, else one line saying why not."""
    notes: tuple[str, ...]
    """What a user should know: options that had no effect, timing cache not used."""

    @property
    def engine_words(self) -> str:
        """One line: the shares of `engine` in FP16, or why it was not read."""
        words = summary_words(to_record(self.engine))
        return words if isinstance(self.engine, str) else f"engine: {words}"


@dataclass(frozen=True)
class _Options:
    operators: str
    workspace_bytes: int | None
    timing_cache_path: Path | None
    min_fp16: float | None
    tf32: bool
    compatibility: Compatibility


def build_engine(
    onnx_path: Path | str,
    engine_path: Path | str,
    runtime: str = "tensorrt-rtx",
    operators: str = "auto",
    *,
    workspace_bytes: int | None = None,
    timing_cache_path: Path | str | None = None,
    min_fp16: float | None = None,
    tf32: bool = False,
    compatibility: Compatibility = NOWHERE_ELSE,
    progress: bool = True,
) -> BuildReport:
    """Build an engine and write it with its sidecar, both or neither; Ctrl-C stops TensorRT.

    Where a GPU is needed it is the first that CUDA shows to this process.

    Args:
        onnx_path: an `.onnx` file made by `maskrt export`.
        engine_path: where the engine goes, `X.engine`; the sidecar is `X.engine.json`.
        runtime: `tensorrt` (needs an NVIDIA GPU here) or `tensorrt-rtx` (builds anywhere).
        operators: `plugin` (our kernels), `portable` (standard ONNX) or `auto`, which takes the
            plugins where they become part of the engine: `tensorrt` from 10.16 on.
        workspace_bytes: scratch memory the engine may use; None leaves TensorRT's own limit.
        timing_cache_path: file that is read when there and written back; one per TensorRT and GPU.
        min_fp16: for an FP16 contract, the least share (0..1) of MACs that must run in FP16, in
            the parsed network and, where a GPU can open it, in the engine itself.
        tf32: let FP32 convolutions and products run in TF32.
        compatibility: where else the engine is to run, and whether without its weights.
        progress: bars on stderr when it is a terminal.

    Raises:
        InputError: an option, the ONNX file or the target is missing, broken or of the wrong kind.
        BuildError: TensorRT is missing or refuses, `plugin` or a compatibility is asked for and
            cannot be had, or the FP16 floor is not reached.
    """
    source, target = Path(onnx_path), Path(engine_path)
    cache = Path(timing_cache_path) if timing_cache_path is not None else None
    options = _Options(operators, workspace_bytes, cache, min_fp16, tf32, compatibility)
    _check_options(options)
    check_target(target)
    exported, contract = read_exported(source)
    flavour = load_flavour(runtime)
    require_compatibility(compatibility, flavour)
    started = time.perf_counter()
    builder = make_builder(flavour)
    against = compatibility.against_plugins
    prepared = prepare_operators(operators, flavour, exported, str(source), against)
    if compatibility.strip_weights:
        keep_bounds_named(prepared.model)
    engine, network, notes = interruptible(
        lambda stop: _build(
            flavour, builder, prepared, contract, options, stop, source=source, progress=progress
        )
    )
    seconds = time.perf_counter() - started
    used = {
        "operators": prepared.operators,
        "workspace_bytes": workspace_bytes,
        "tf32": tf32,
        **dataclasses.asdict(compatibility),
    }
    kernels = prepared.kernels_sha256
    fingerprint = take_fingerprint(source, flavour, engine, used, kernels, seconds)
    if compatibility.strip_weights:
        weights = weight_files(source, target.parent)
        fingerprint = dataclasses.replace(fingerprint, weights_sha256=weights)
        notes += (f"its weights stay in {source}: keep that where it is, or beside the engine",)
    build = {
        "command": _command(source, target, flavour, options),
        "operators": prepared.operators,
        "operators_reason": prepared.reason,
        "network": network.to_dict(),
    }
    sidecar = Sidecar(contract, fingerprint, build)
    layers = built_summary(target, engine, sidecar, flavour.trt)
    notes += _check_engine_layers(layers, contract, min_fp16, source)
    sidecar = dataclasses.replace(
        sidecar, build={**build, "engine": to_record(layers), "notes": [*notes]}
    )
    return BuildReport(
        engine_path=target,
        sidecar_path=write_pair(target, engine, sidecar),
        contract=contract,
        fingerprint=fingerprint,
        operators=prepared.operators,
        operators_reason=prepared.reason,
        network=network,
        engine=layers,
        notes=notes,
    )


def _check_options(options: _Options) -> None:
    if options.operators not in OPERATORS:
        raise InputError(
            f"operators '{options.operators}': unknown; expected {', '.join(OPERATORS)}. "
            "Choose one of these."
        )
    if options.min_fp16 is not None and not 0.0 <= options.min_fp16 <= 1.0:
        raise InputError(f"min_fp16 {options.min_fp16}: expected a share from 0 to 1. Correct it.")
    if options.workspace_bytes is not None and options.workspace_bytes <= 0:
        raise InputError(
            f"workspace of {options.workspace_bytes} bytes: expected more than 0. Correct it."
        )


def _build(
    flavour: Flavour,
    builder: Any,
    prepared: Prepared,
    contract: Contract,
    options: _Options,
    stop: threading.Event,
    *,
    source: Path,
    progress: bool,
) -> tuple[bytes, LayerSummary, tuple[str, ...]]:
    """Parse, check the FP16 floor, build; nothing is written but the timing cache.

    Setting `stop` makes TensorRT give up, and that a BuildError.
    """
    model = prepared.model
    network = parse_network(flavour, builder, model, contract, str(source))
    config = _config(flavour, builder, options)
    request_precision(flavour, config, network, tensor_types(model), options.tf32)
    summary = network_summary(flavour.trt, network)
    _require_fp16(summary, contract, options.min_fp16, source)
    notes = (*leave_out_absent(flavour, config), *scatter_note(network, summary))
    notes += _load_timing_cache(flavour, config, options.timing_cache_path)
    with show_progress(flavour, config, progress, stop):
        engine = serialize_network(
            flavour, builder, network, config, model=model, where=str(source)
        )
    if flavour.has_timing_cache and options.timing_cache_path is not None:
        write_bytes(options.timing_cache_path, bytes(config.get_timing_cache().serialize()))
    return engine, summary, notes


def _config(flavour: Flavour, builder: Any, options: _Options) -> Any:
    trt = flavour.trt
    config = builder.create_builder_config()
    # Without it the engine inspector knows layer names only; it costs a few bytes per layer.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    set_compatibility(options.compatibility, flavour, config)
    return config


def _require_fp16(
    summary: LayerSummary, contract: Contract, floor: float | None, source: Path
) -> None:
    """Strongly typed builds compute no narrower than the network says, so its share comes first."""
    if floor is None or contract.precision != "fp16" or summary.fp16_mac_share >= floor:
        return
    others = [_layer_words(layer) for layer in summary.widest(3)]
    if summary.unattributed_macs:
        others.append(f"{summary.unattributed_macs:,} MACs in no layer that tells")
    raise BuildError(
        f"{source}: {summary.fp16_mac_share:.1%} of the MACs run in FP16 (read from the "
        f"{summary.source}); expected at least {floor:.1%}. Largest others: "
        f"{', '.join(others) or 'none'}. Export with another precision policy, or lower --min-fp16."
    )


def _check_engine_layers(
    layers: LayerSummary | str, contract: Contract, floor: float | None, source: Path
) -> tuple[str, ...]:
    """The floor on the engine itself; a note for the user where nothing could read its layers."""
    if isinstance(layers, LayerSummary):
        _require_fp16(layers, contract, floor, source)
        return ()
    if floor is None or contract.precision != "fp16":
        return ()
    return ("--min-fp16 was checked on the parsed network, not on the engine",)


def _layer_words(layer: Layer) -> str:
    """As "'MatMul_6' (float32, 256 MACs, ONNX MatMul_6)"."""
    nodes = " + ".join(layer.onnx) or "unknown"
    return f"'{layer.name}' ({layer.precision or 'other'}, {layer.macs:,} MACs, ONNX {nodes})"


def _load_timing_cache(flavour: Flavour, config: Any, path: Path | None) -> tuple[str, ...]:
    """Attach the timing cache; returns the notes for the user."""
    if path is None:
        return ()
    if not flavour.has_timing_cache:
        return (f"{flavour} has no timing cache: {path} was neither read nor written",)
    data = path.read_bytes() if path.is_file() else b""
    if config.set_timing_cache(config.create_timing_cache(data), False):
        return ()
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return (f"{path}: made by another TensorRT or for another GPU; a new timing cache replaces it",)


def _command(source: Path, target: Path, flavour: Flavour, options: _Options) -> str:
    """The command line that repeats this build."""
    words = ["maskrt", "build", str(source), "-o", str(target), "--runtime", flavour.name]
    words += ["--operators", options.operators]
    values = {
        "--workspace-bytes": options.workspace_bytes,
        "--timing-cache": options.timing_cache_path,
        "--min-fp16": options.min_fp16,
    }
    for flag, value in values.items():
        words += [] if value is None else [flag, str(value)]
    words += ["--tf32"] if options.tf32 else []
    return shlex.join([*words, *options.compatibility.arguments])
