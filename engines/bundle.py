"""A bundle of ONNX graphs -> a bundle of engines, one for each canvas, in one call.

All are built with one timing cache: graphs of one network at two canvases have most layers in
common, and TensorRT times each kind once. The folder gets its name when all engines are there.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..runtime.bundle import check_file, read_bundle
from ..runtime.bundle_folder import bundle_folder, write_index
from ..runtime.errors import InputError
from ..runtime.files import write_text
from ..runtime.sidecar import read_sidecar
from .builder import BuildReport, build_engine
from .flavours import load_flavour

CACHE = "timing.cache"


def build_bundle(
    source: Path,
    folder: Path,
    runtime: str = "tensorrt-rtx",
    *,
    timing_cache_path: Path | None = None,
    on_step: Callable[[str], None] = lambda line: None,
    **options: Any,
) -> list[BuildReport]:
    """Build every graph of a bundle; a bundle that is at `folder` already is replaced.

    Args:
        source: a bundle of ONNX graphs, its folder.
        folder: to make.
        runtime: as `build_engine` takes it.
        timing_cache_path: as there; None keeps one for as long as the call lasts.
        on_step: told which graph is being built.
        options: the others of `build_engine`.

    Returns:
        A report for each graph, in order.

    Raises:
        InputError, BuildError: as `build_engine`, or a file is not the one that the index names.
    """
    if folder.suffix:
        raise InputError(
            f"{folder}: suffix '{folder.suffix}' found; expected a folder's name without one, as a "
            "bundle becomes several engines. Leave it away."
        )
    index = read_bundle(source)
    if index.weights is None:
        raise InputError(f"{source}: a bundle of engines; expected one of ONNX graphs. Name that.")
    check_file(source, index.weights)
    reports = []
    with bundle_folder(folder) as made:
        cache = timing_cache_path
        if cache is None and load_flavour(runtime).has_timing_cache:
            cache = made / CACHE
        for number, graph in enumerate(index.graphs, 1):
            on_step(f"{graph.file}: engine {number} of {len(index.graphs)}")
            path = check_file(source, graph)
            engine = made / f"{path.stem}.engine"
            report = build_engine(path, engine, runtime, timing_cache_path=cache, **options)
            _say_how_to_build_again(report, source, folder)
            reports.append(report)
        (made / CACHE).unlink(missing_ok=True)
        write_index(made, [(report.engine_path, report.contract) for report in reports], None)
    return [_in_place(report, folder) for report in reports]


def _say_how_to_build_again(report: BuildReport, source: Path, folder: Path) -> None:
    """In the sidecar: the command that makes the whole bundle, without what was temporary."""
    sidecar = read_sidecar(report.engine_path)
    _, verb, _, flag, _, *rest = shlex.split(sidecar.build["command"])
    cache = str(report.engine_path.parent / CACHE)
    if cache in rest:
        place = rest.index(cache)
        del rest[place - 1 : place + 1]
    command = shlex.join(["maskrt", verb, str(source), flag, str(folder), *rest])
    changed = dataclasses.replace(sidecar, build={**sidecar.build, "command": command})
    write_text(report.sidecar_path, changed.to_json())


def _in_place(report: BuildReport, folder: Path) -> BuildReport:
    return dataclasses.replace(
        report,
        engine_path=folder / report.engine_path.name,
        sidecar_path=folder / report.sidecar_path.name,
    )
