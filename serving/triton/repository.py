"""A model repository: one folder a graph, its version 1, its configuration.

    DIR/NAME/config.pbtxt
    DIR/NAME/1/model.onnx or model.plan    and weights.bin, which graphs of a bundle share

A bundle becomes a model for each canvas, NAME-HxW: Triton runs graphs, and which of them fits a
picture is the client's to choose.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ...runtime.bundle import INDEX, check_file, name_of, read_bundle
from ...runtime.contract import Contract
from ...runtime.errors import InputError
from ...runtime.files import require_file
from ...runtime.sessions.open import open_artefact
from ...runtime.sidecar import read_sidecar
from ...runtime.whole_folder import whole_folder
from .config import PLATFORMS, config_text

MODEL_FILES = {".onnx": "model.onnx", ".engine": "model.plan"}
"""What Triton looks for where a configuration names no file."""


@dataclass(frozen=True)
class TritonModel:
    """One model of a repository."""

    name: str
    file: Path
    """What runs, in the repository."""
    contract: Contract
    needs: str
    """What the server must have, in words."""


@dataclass(frozen=True)
class _Graph:
    name: str
    path: Path
    weights: Path | None = None


def write_repository(model: Path, out: Path, name: str | None = None) -> tuple[TritonModel, ...]:
    """Write the models of one artefact into a repository.

    Args:
        model: an ONNX file, an engine, or a bundle's index.
        out: the repository, made where it is not there; models that are in it stay.
        name: of the model there; None takes the file's own.

    Raises:
        InputError: not such a file, an engine for TensorRT-RTX or without its weights, a name that
            Triton takes for no model's, a model of that name in the repository, or a folder that
            cannot be written.
        SessionError: an engine without its sidecar, or an ONNX file that ONNX Runtime cannot open.
    """
    graphs = _graphs(model, name)
    for graph in graphs:
        if (out / graph.name).exists():
            raise InputError(
                f"{out / graph.name}: a model of this name found; expected a new one. Remove it, "
                "or choose another name with --name."
            )
    return tuple(_written(graph, out) for graph in graphs)


def _graphs(model: Path, name: str | None) -> list[_Graph]:
    named = name or Path(name_of(model)).stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", named):
        raise InputError(
            f"{named[:100]}: a model's name; expected letters, digits, '.', '_' and '-', as it is "
            "a folder's and part of an address. Choose one with --name."
        )
    if model.name != INDEX:
        return [_Graph(named, require_file(model, "what Triton runs", tuple(PLATFORMS)))]
    index = read_bundle(model)
    weights = None if index.weights is None else check_file(model.parent, index.weights)
    return [
        _Graph(
            f"{named}-{graph.canvas_hw[0]}x{graph.canvas_hw[1]}",
            check_file(model.parent, graph),
            weights,
        )
        for graph in index.graphs
    ]


def _written(graph: _Graph, out: Path) -> TritonModel:
    suffix = graph.path.suffix.lower()
    contract, needs = _engine(graph.path) if suffix == ".engine" else _onnx(graph.path)
    with whole_folder(out / graph.name) as folder:
        version = folder / "1"
        version.mkdir()
        shutil.copyfile(graph.path, version / MODEL_FILES[suffix])
        if graph.weights is not None:
            _link_or_copy(graph.weights, version / graph.weights.name)
        text = config_text(graph.name, PLATFORMS[suffix], contract)
        (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    file = out / graph.name / "1" / MODEL_FILES[suffix]
    return TritonModel(graph.name, file, contract, needs)


def _link_or_copy(source: Path, target: Path) -> None:
    """Weights that several graphs share, once on the disk where it can be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _onnx(path: Path) -> tuple[Contract, str]:
    """Opened once, so that what ONNX Runtime refuses is refused here."""
    with open_artefact(path, "onnxruntime-cpu") as session:
        return session.contract, "a Triton with the ONNX Runtime backend"


def _engine(path: Path) -> tuple[Contract, str]:
    sidecar = read_sidecar(path)
    made = sidecar.fingerprint
    if made.runtime != "tensorrt":
        raise InputError(
            f"{path}: an engine for {made.runtime}; expected one for tensorrt, which Triton runs. "
            "Build it with --runtime tensorrt, or give Triton the ONNX file."
        )
    if made.weights_sha256:
        raise InputError(
            f"{path}: an engine without its weights; expected one that Triton can run as it is. "
            "Build it without --strip-weights."
        )
    version = f"TensorRT {made.tensorrt_version}" + (" or later" * made.version_compatible)
    gpu = f" on a GPU as {made.gpu_name}" if made.gpu_name else ""
    return sidecar.contract, f"a Triton with {version}{gpu}"
