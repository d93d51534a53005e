"""A bundle: one model as several graphs, one for each canvas, in one folder.

    bundle.json      the index: what the graphs share, the name and SHA-256 of every file
    800x1344.onnx    a graph with its contract, or 800x1344.engine with its sidecar
    1344x800.onnx
    weights.bin      what ONNX graphs have in common, once (ONNX external data)

The index is written last into a folder that is renamed when it is whole. Whoever opens a graph
checks its file against the index first, so that files of two bundles never mix.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from .contract import MOST_PX, Contract, Precision
from .errors import ContractError, InputError, first_line
from .files import is_file, sha256_of
from .json_values import decoded, parse_json, schema_version

INDEX = "bundle.json"
WEIGHTS = "weights.bin"
SCHEMA_VERSION = 1
AGAIN = "Export or build the bundle again."


@dataclass(frozen=True)
class BundleFile:
    """A file of the folder."""

    file: str
    """Its name."""
    sha256: str
    bytes: int


@dataclass(frozen=True)
class BundleGraph(BundleFile):
    """A graph: an ONNX file or an engine."""

    canvas_hw: tuple[int, int]
    """Height and width in pixels of its canvas."""


@dataclass(frozen=True)
class BundleIndex:
    """What `bundle.json` says."""

    model: str
    """Network family, as `Contract.model`; the next four as there too."""
    variant: str
    precision: Precision
    batch: int
    checkpoint_sha256: str
    graphs: tuple[BundleGraph, ...]
    """One or more, each of another canvas; the first is the one that is opened first."""
    weights: BundleFile | None
    """What ONNX graphs share; engines share nothing and have None."""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON with sorted keys, one newline at the end."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @property
    def total_bytes(self) -> int:
        """Of graphs and weights together."""
        files: tuple[BundleFile | None, ...] = (*self.graphs, self.weights)
        return sum(entry.bytes for entry in files if entry is not None)

    @property
    def canvases(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each graph's canvas, in order."""
        return tuple(graph.canvas_hw for graph in self.graphs)


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; not where the file system takes no such name."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle's, by the index in it."""
    return is_file(folder / INDEX)


def index_path(path: Path) -> Path:
    """The index of a bundle that is named by its folder or by the index itself."""
    return path if path.name == INDEX else path / INDEX


def name_of(path: Path) -> str:
    """What tables call an artefact: a bundle by its folder, its graphs by folder and file."""
    if path.name == INDEX:
        return path.absolute().parent.name
    inside = is_file(path.parent / INDEX)
    return f"{path.absolute().parent.name}/{path.name}" if inside else path.name


def graph_paths(path: Path) -> list[Path]:
    """The files of a bundle's graphs, `path` being its index; any other file is its own.

    Raises:
        InputError: as `read_bundle`.
    """
    if path.name != INDEX:
        return [path]
    return [path.parent / graph.file for graph in read_bundle(path).graphs]


def canvas_words(canvases: tuple[tuple[int, int], ...]) -> str:
    """As "800x1344 and 1344x800"."""
    *others, last = (f"{height}x{width}" for height, width in canvases)
    return f"{', '.join(others)} and {last}" if others else last


def read_bundle(path: Path) -> BundleIndex:
    """Read the index of a bundle, named by its folder or by the index.

    Raises:
        InputError: there is none, or it is not JSON or not an index.
    """
    index = index_path(path)
    try:
        raw = parse_json(index.read_bytes())
        version = schema_version(raw)
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema {version}; this maskrt reads {SCHEMA_VERSION}")
        found = decoded(BundleIndex, raw)
        _check_ranges(found)
    except OSError as err:
        raise InputError(
            f"{index}: {err.strerror or err}; expected the index that 'maskrt export' or 'maskrt "
            "build' writes into a bundle's folder. Name such a folder."
        ) from err
    except ValueError as err:
        raise InputError(
            f"{index}: not an index of a bundle ({first_line(err)}); expected one as maskrt writes "
            f"it. {AGAIN}"
        ) from err
    return found


def _check_ranges(index: BundleIndex) -> None:
    """Names that stay in the folder, canvases that differ; ValueError where not."""
    if not index.graphs:
        raise ValueError("graphs is empty; expected at least one")
    if not 1 <= index.batch <= MOST_PX:
        raise ValueError(f"batch is {index.batch}; expected 1 to {MOST_PX}")
    if len(set(index.canvases)) != len(index.graphs):
        raise ValueError("two graphs have one canvas")
    for height, width in index.canvases:
        if not 1 <= min(height, width) <= max(height, width) <= MOST_PX:
            raise ValueError(f"canvas_hw is {[height, width]}; expected 1 to {MOST_PX}")
    for entry in (*index.graphs, *filter(None, [index.weights])):
        if Path(entry.file).name != entry.file or entry.file in ("", ".", ".."):
            raise ValueError(f"file is {entry.file[:40]!r}; expected a name without folders")


def check_file(folder: Path, entry: BundleFile) -> Path:
    """The path of a file of the bundle, after comparing it with the index.

    Raises:
        InputError: it is missing, or is another file.
    """
    path = folder / entry.file
    if not is_file(path):
        raise InputError(f"{path}: no such file; expected it, as {INDEX} names it. {AGAIN}")
    found = sha256_of(path)
    if found != entry.sha256:
        raise InputError(
            f"{path}: SHA-256 {found[:12]} found; expected {entry.sha256[:12]}, as {INDEX} says. "
            f"The file was changed or is of another bundle. {AGAIN}"
        )
    return path


def check_contract(path: Path, contract: Contract, index: BundleIndex, graph: BundleGraph) -> None:
    """Compare what a graph says of itself with what the index says.

    Raises:
        ContractError: they differ.
    """
    stated = {
        "canvas": (graph.canvas_hw, contract.canvas_hw),
        "batch": (index.batch, contract.batch),
        "variant": (index.variant, contract.variant),
        "checkpoint": (index.checkpoint_sha256[:12], contract.checkpoint_sha256[:12]),
    }
    for name, (expected, found) in stated.items():
        if expected != found:
            raise ContractError(
                f"{path}: {name} {found} in its contract; expected {expected}, as {INDEX} says. "
                f"{AGAIN}"
            )
