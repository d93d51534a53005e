"""Where an engine spends a run: TensorRT's own time of every layer, beside what the layer is.

    python -m maskrt.engines.layers.layer_profile X.engine [--runs 20] [--rows 12] [--json]

Prints the slowest layers with their ONNX nodes, precision and MACs; `--json` adds all of them as
one JSON object on the last line. TensorRT waits after each layer to time it, so the sum is longer
than a run: use `maskrt bench` for latencies and this for shares. Needs an NVIDIA GPU.
Source: TensorRT `IProfiler`; layers are reported in the names of the engine inspector.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import InputError, MaskRTError, SessionError
from ...runtime.pictures.noise import noise_batch
from ...runtime.sessions.trt.context import TrtContext
from ...runtime.sessions.trt.engine import LoadedEngine, load_engine, require_contract_tensors
from ...runtime.sessions.trt.runtime_cache import RuntimeCache, has_runtime_config
from .engine_report import inspected_layers
from .summary import Layer

WARM_UP_RUNS = 3
"""Not measured: the GPU's clock rises and caches fill."""


@dataclass(frozen=True)
class LayerTime:
    """One layer of the engine in a profile."""

    name: str
    onnx: tuple[str, ...]
    """The ONNX nodes it computes; empty for TensorRT's own, such as a change of layout."""
    kind: str
    precision: str
    """Widest float type among its inputs; "" when none is, or the inspector does not tell."""
    macs: int
    ms: float
    """Median over the runs."""
    share: float
    """Of all layers' medians, 0..1."""


@dataclass(frozen=True)
class LayerProfile:
    """The layers of one engine by time."""

    engine: str
    gpu: str
    runs: int
    total_ms: float
    """Sum of all layers' medians."""
    layers: tuple[LayerTime, ...]
    """Slowest first."""
    missing: str | None
    """Why names of ONNX nodes, precision and MACs are not known; None when they are."""


def profile_engine(
    engine_path: Path,
    images: npt.NDArray[np.uint8] | None = None,
    image_sizes: npt.NDArray[np.int32] | None = None,
    runs: int = 20,
) -> LayerProfile:
    """Time every layer of an engine, run by run, never as a CUDA graph.

    Args:
        engine_path: made by `maskrt build`.
        images: uint8 (B, H, W, 3) as its contract; None takes fixed noise: every shape is fixed,
            so noise costs what pictures cost.
        image_sizes: int32 (B, 2); None takes the whole canvas.
        runs: how many runs are measured, after a few that are not.

    Raises:
        InputError: `runs` is below 1, or `engine_path` is no engine.
        ContractError: arrays of another shape or type.
        SessionError: the engine cannot be opened here, or TensorRT did not report every layer of
            every run.
    """
    if runs < 1:
        raise InputError(f"{engine_path}: {runs} runs asked for; expected 1 or more. Correct it.")
    loaded = load_engine(engine_path)
    require_contract_tensors(loaded)
    noise, whole_canvas = noise_batch(loaded.sidecar.contract)
    with _open_context(loaded) as context:
        context.upload(
            noise if images is None else images,
            whole_canvas if image_sizes is None else image_sizes,
        )
        for _ in range(WARM_UP_RUNS):
            context.execute()
        recorder = _recorder(loaded.trt)
        context.execute_profiled(recorder, runs)
    _require_every_run(engine_path, recorder.times_ms, runs)
    return _profile(loaded, _medians(recorder.times_ms, runs), runs)


@contextlib.contextmanager
def _open_context(loaded: LoadedEngine) -> Iterator[TrtContext]:
    """One context that queues its runs call by call."""
    with contextlib.ExitStack() as stack:
        cache = RuntimeCache(loaded) if has_runtime_config(loaded) else None
        if cache is not None:
            stack.callback(cache.close)
        context = TrtContext(loaded, cuda_graph=False, cache=cache)
        stack.callback(context.close)
        yield context


def _recorder(trt: Any) -> Any:
    """A `trt.IProfiler` with `times_ms`: each layer's times in the order they are reported."""

    class Recorder(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ms: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ms[layer_name].append(ms)

    return Recorder()


def _require_every_run(path: Path, times_ms: dict[str, list[float]], runs: int) -> None:
    odd = {name: len(times) for name, times in times_ms.items() if len(times) % runs}
    if odd or not times_ms:
        raise SessionError(
            f"{path}: TensorRT reported times of {len(times_ms)} layers, {len(odd)} of them not in "
            f"each of {runs} runs; expected every layer in every run. Profile it again, or with "
            "trtexec."
        )


def _medians(times_ms: dict[str, list[float]], runs: int) -> dict[str, float]:
    """Median over runs by name; layers of one name, which a run reports in turn, are added up."""
    per_run = {name: np.reshape(times, (runs, -1)).sum(axis=1) for name, times in times_ms.items()}
    return {name: float(np.median(sums)) for name, sums in per_run.items()}


def _profile(loaded: LoadedEngine, medians_ms: dict[str, float], runs: int) -> LayerProfile:
    known, missing = _known_layers(loaded)
    total_ms = sum(medians_ms.values())
    layers = tuple(
        _layer_time(known.get(name, Layer(name, "", "", 0)), ms, total_ms)
        for name, ms in sorted(medians_ms.items(), key=lambda item: -item[1])
    )
    return LayerProfile(str(loaded.path), loaded.gpu.name, runs, total_ms, layers, missing)


def _known_layers(loaded: LoadedEngine) -> tuple[dict[str, Layer], str | None]:
    """The inspector's layers by name, and why there are none."""
    try:
        return {layer.name: layer for layer in inspected_layers(loaded).layers}, None
    except SessionError as err:
        return {}, str(err)


def _layer_time(layer: Layer, ms: float, total_ms: float) -> LayerTime:
    share = ms / total_ms if total_ms else 0.0
    return LayerTime(
        layer.name, layer.onnx, layer.kind, layer.precision, layer.macs, ms=ms, share=share
    )


def _print_table(profile: LayerProfile, rows: int) -> None:
    print(
        f"{profile.engine} on {profile.gpu}: {len(profile.layers)} layers, {profile.total_ms:.3f} "
        f"ms in all, medians of {profile.runs} runs"
    )
    if profile.missing:
        print(f"  ONNX nodes, precision and MACs are not known: {profile.missing}")
    print(f"{'layer':48} {'ms':>9} {'share':>6} {'precision':>9} {'GMACs':>8}  ONNX nodes")
    for layer in profile.layers[:rows]:
        print(
            f"{layer.name[:48]:48} {layer.ms:9.4f} {layer.share:6.1%} {layer.precision or '-':>9} "
            f"{layer.macs / 1e9:8.3f}  {' + '.join(layer.onnx) or '-'}"
        )


def main(argv: list[str] | None = None) -> int:
    """Print the table; returns 0, or 2 with one sentence on stderr."""
    parser = argparse.ArgumentParser(description="TensorRT time by layer")
    parser.add_argument("engine", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=12, help="layers in the table")
    parser.add_argument("--json", action="store_true", help="all layers as the last line")
    arguments = parser.parse_args(argv)
    try:
        profile = profile_engine(arguments.engine, runs=arguments.runs)
    except MaskRTError as err:
        print(f"layer_profile: {err}", file=sys.stderr)
        return err.exit_code
    _print_table(profile, arguments.rows)
    if arguments.json:
        print(json.dumps(asdict(profile)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
