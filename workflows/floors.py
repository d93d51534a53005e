"""What a file needs at least on GPUs that are not here: `maskrt inspect FILE --gpu NAMES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.bundle import graph_paths
from ..runtime.errors import InputError
from .shipped import named_file, require_model

if TYPE_CHECKING:
    from ..eval import Table
    from ..export.roofline.floors import NodeFloor, Operators
    from ..export.roofline.summary import GraphFloor

OPERATOR_ROWS = 10
KERNEL_ROWS = 12
_ASSUMED = (
    "A floor, not a measurement: per kernel the longer of its MACs over the peak and its bytes "
    "over the bandwidth, both of data sheets. What works value by value is part of the kernel "
    "before it; a tensor between kernels stays in the cache as far as that holds it (row 'no "
    "cache': nothing does); FP32 runs {full}; operators are counted as {operators}. Not in it: "
    "starting a kernel, some microseconds each outside of a CUDA graph, and arithmetic that is no "
    "product."
)


@dataclass(frozen=True)
class FileFloors:
    """The floors of one ONNX file, on one GPU after the other."""

    path: Path
    floors: tuple[GraphFloor, ...]
    tf32: bool

    @property
    def tables(self) -> tuple[Table, ...]:
        """By operator, and the longest kernels."""
        return _by_operator(self), _longest(self)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        floors = [floor.to_json() for floor in self.floors]
        return {"file": str(self.path), "tf32": self.tf32, "gpus": floors}


def floors_of_file(
    path: Path, gpus: str, operators: Operators = "portable", *, tf32: bool = False
) -> tuple[FileFloors, ...]:
    """The least time of an ONNX file, or of each of a bundle, on every GPU that is named.

    Args:
        path: an ONNX file of maskrt's, or a bundle of such.
        gpus: shipped names and YAML files, separated by commas.
        operators: as `build --operators`: with plugins, or with portable bodies.
        tf32: FP32 products run in TF32 where a GPU has it.

    Raises:
        InputError: no such file or GPU, another kind of file, or a GPU without units for a
            precision of the file.
        ExportError: an ONNX file's shapes are not static.
    """
    from ..engines.inline import read_exported
    from ..export.roofline.floors import kernel_works
    from ..export.roofline.gpus import gpus_named
    from ..export.roofline.summary import graph_floor

    known = gpus_named(gpus)
    path = named_file(path)
    require_model(path)
    found = []
    for graph in graph_paths(path):
        _require_onnx(graph)
        works = kernel_works(read_exported(graph)[0], operators)
        floors = tuple(graph_floor(works, gpu, operators, tf32=tf32) for gpu in known)
        found.append(FileFloors(graph, floors, tf32))
    return tuple(found)


def _require_onnx(path: Path) -> None:
    """Only an ONNX file has every tensor's shape."""
    if path.suffix.lower() == ".onnx":
        return
    advice = f"Export it: maskrt export {path} -o {path.stem}.onnx."
    if path.suffix.lower() == ".engine":
        advice = "Name the ONNX file that it was built from."
    raise InputError(
        f"{path}: --gpu with a {path.suffix} file found; expected an ONNX file, which has the "
        f"shape of every tensor. {advice}"
    )


def _by_operator(file: FileFloors) -> Table:
    from ..eval.report.table import Table

    first = file.floors[0]
    columns = [{row.operator: row.ms for row in floor.by_operator} for floor in file.floors]
    shown, rest = first.by_operator[:OPERATOR_ROWS], first.by_operator[OPERATOR_ROWS:]
    rows = [
        (row.operator, str(row.kernels), _giga(row.macs), *_shares(row.operator, columns, file))
        for row in shown
    ]
    if rest:
        kernels, macs = sum(row.kernels for row in rest), sum(row.macs for row in rest)
        left = [sum(column[row.operator] for row in rest) for column in columns]
        rows.append((f"{len(rest)} others", str(kernels), _giga(macs), *map(_ms, left)))
    macs = sum(row.macs for row in first.by_operator)
    totals = [_ms(floor.ms) for floor in file.floors]
    rows.append(("floor", str(len(first.nodes)), _giga(macs), *totals))
    rows.append(("no cache", "", "", *(_ms(floor.uncached_ms) for floor in file.floors)))
    names = [f"{floor.gpu.name}, ms" for floor in file.floors]
    return Table(
        title=f"Floor of {file.path.name}",
        columns=("operator", "kernels", "GMACs", *names),
        rows=tuple(rows),
        notes=(_assumed(file), *map(_sheet, file.floors)),
        keys=1,
    )


def _longest(file: FileFloors) -> Table:
    from ..eval.report.table import Table

    kernels = sorted(
        zip(*(floor.nodes for floor in file.floors), strict=True), key=lambda at: -at[0].ms
    )
    names = [f"{floor.gpu.name}, ms" for floor in file.floors]
    return Table(
        title="Its longest kernels",
        columns=("node", "module", "operator", "in", "GMACs", *names),
        rows=tuple(_kernel_row(nodes) for nodes in kernels[:KERNEL_ROWS]),
        keys=3,
    )


def _kernel_row(nodes: Sequence[NodeFloor]) -> tuple[str, ...]:
    work = nodes[0].work
    times = (f"{_ms(node.ms)} {node.bound}" for node in nodes)
    return (work.nodes[0], work.scope, work.kind, work.precision, _giga(work.macs), *times)


def _shares(operator: str, columns: Sequence[dict[str, float]], file: FileFloors) -> list[str]:
    """Milliseconds on each GPU, and of its floor."""
    pairs = zip(columns, file.floors, strict=True)
    return [f"{_ms(ms[operator])} ({ms[operator] / (floor.ms or 1):.0%})" for ms, floor in pairs]


def _assumed(file: FileFloors) -> str:
    full = "in TF32 where the GPU has it" if file.tf32 else "without TF32"
    kinds = {"portable": "portable bodies", "plugin": "plugins"}
    return _ASSUMED.format(full=full, operators=kinds[file.floors[0].operators])


def _sheet(floor: GraphFloor) -> str:
    gpu = floor.gpu
    peaks = ", ".join(f"{name.upper()} {value:g}" for name, value in gpu.tera_ops.items())
    note = f" ({gpu.note})" if gpu.note else ""
    return (
        f"{gpu.name}: {peaks} T operations/s, {gpu.bandwidth_gb_s:g} GB/s, L2 {gpu.l2_mib:g} MiB"
        f"{note}. {gpu.source}."
    )


def _giga(macs: int) -> str:
    return f"{macs / 1e9:.2f}" if macs else "-"


def _ms(value: float) -> str:
    return f"{value:.3f}" if value >= 0.1 else f"{value:.5f}"
