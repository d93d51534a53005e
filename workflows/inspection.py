"""What a checkpoint, an ONNX file, an engine or a bundle is, without running it.

Every figure is counted from the file itself or from the network its recipe makes.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.bundle import INDEX, BundleIndex, check_file, read_bundle
from ..runtime.contract import Contract
from ..runtime.errors import SessionError
from ..runtime.files import sha256_of
from ..runtime.sidecar import Sidecar
from .shipped import named_file, require_model

if TYPE_CHECKING:
    from ..train.recipes.fastmask import FastMaskRecipe
    from ..train.recipes.recipe import Recipe

Costs = dict[str, dict[str, int]]
"""MACs by part and in total, for each number of RoIs or proposals, e.g. "300 RoIs"."""

COST_IMAGE_HW = (800, 1200)
COST_ROIS = (300, 1000)
"""Picture and numbers of RoIs at which networks are compared, as in the LSC paper's tables."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint is."""

    path: Path
    recipe: str
    steps: int
    """maskrt trained it for; 0 where it is untrained or imported."""
    origin: str
    """How the weights came about, in words."""
    imported: dict[str, Any] | None
    """The file they were imported from, and those that its settings are from."""
    sha256: str
    class_names: tuple[str, ...]
    parameters: int
    """Weights and biases without norms."""
    measured: dict[str, float]
    """Accuracy on the val split it was trained beside, empty where that was not measured."""
    costs_of: str
    """The picture that `costs` are of, in words."""
    costs: Costs

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = dataclasses.asdict(self)
        del values["costs"], values["costs_of"], values["path"]
        macs = {name.split()[0]: cost for name, cost in self.costs.items()}
        return {"file": str(self.path), "kind": "checkpoint", **values, "macs": macs}


@dataclass(frozen=True)
class OnnxFacts:
    """What an exported ONNX file is."""

    path: Path
    sha256: str
    contract: Contract
    opsets: dict[str, int]
    functions: tuple[str, ...]
    """Names of its local functions: the custom operators."""
    nodes: dict[str, int]
    """How many of each operator, the most frequent first."""
    parameters: int
    macs: int
    """Of everything that multiplies."""
    layer_macs: int
    """Of layers with stored weights."""
    fp16_mac_share: float
    """Of the layers' MACs, 0 to 1; so the node share of all nodes, INT8's and FP8's of `macs`."""
    fp16_node_share: float
    int8_mac_share: float
    fp8_mac_share: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del values["path"]
        changed = {
            "contract": json.loads(self.contract.to_json()),
            "functions": list(self.functions),
        }
        return {"file": str(self.path), "kind": "onnx", **values, **changed}


@dataclass(frozen=True)
class EngineFacts:
    """What a built engine is."""

    path: Path
    sidecar: Sidecar
    engine_layers: dict[str, Any] | str
    """Its own layers as JSON values, or one line saying why they cannot be read here."""

    @property
    def network_words(self) -> str:
        """The parsed network's layers and FP16 shares in one line."""
        from ..engines.layers.engine_report import summary_words

        return summary_words(self.sidecar.build.get("network"))

    @property
    def engine_words(self) -> str:
        """The same of the engine's own layers, or why they cannot be read here."""
        from ..engines.layers.engine_report import summary_words

        return summary_words(self.engine_layers)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        known = json.loads(self.sidecar.to_json())
        return {
            "file": str(self.path),
            "kind": "engine",
            **known,
            "engine_layers": self.engine_layers,
        }


@dataclass(frozen=True)
class BundleFacts:
    """What a bundle is; every file in it is the one that its index names."""

    path: Path
    """Its index."""
    index: BundleIndex
    graphs: tuple[OnnxFacts | EngineFacts, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "file": str(self.path),
            "kind": "bundle",
            "index": json.loads(self.index.to_json()),
            "graphs": [graph.to_json() for graph in self.graphs],
        }


Facts = CheckpointFacts | OnnxFacts | EngineFacts | BundleFacts


def inspect_file(path: Path) -> Facts:
    """Read what `path` is: a file, the folder of a bundle, or the name of a shipped checkpoint.

    Raises:
        InputError: no such file, a suffix maskrt does not know, or broken contents.
        ConfigError: the recipe beside a checkpoint is not valid.
        SessionError: an engine's sidecar is missing, foreign, or of another engine.
        ExportError: an ONNX file's shapes are not static.
    """
    path = named_file(path)
    require_model(path)
    if path.name == INDEX:
        return _bundle(path)
    return INSPECTORS[path.suffix.lower()](path)


def _bundle(path: Path) -> BundleFacts:
    index = read_bundle(path)
    if index.weights is not None:
        check_file(path.parent, index.weights)
    graphs = tuple(_graph(check_file(path.parent, graph)) for graph in index.graphs)
    return BundleFacts(path, index, graphs)


def _graph(path: Path) -> OnnxFacts | EngineFacts:
    return _engine(path) if path.suffix.lower() == ".engine" else _onnx(path)


def _checkpoint(path: Path) -> CheckpointFacts:
    from ..train.weights.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    recipe = checkpoint.recipe
    picture, costs = _costs(recipe)
    (parameters,) = {cost.pop("parameters") for cost in costs.values()}
    return CheckpointFacts(
        path=path,
        recipe=recipe.name,
        steps=checkpoint.steps,
        origin=checkpoint.origin,
        imported=None if checkpoint.imported is None else dataclasses.asdict(checkpoint.imported),
        sha256=checkpoint.sha256,
        class_names=tuple(recipe.class_names),
        parameters=parameters,
        measured=checkpoint.measured,
        costs_of=picture,
        costs=costs,
    )


def _costs(recipe: Recipe) -> tuple[str, Costs]:
    """What the network costs, and of what picture."""
    from ..train.cost import mask_rcnn_cost, mask_rcnn_fpn_cost
    from ..train.recipes.fastmask import FastMaskRecipe
    from ..train.recipes.mask_rcnn import MaskRCNNRecipe

    if isinstance(recipe, FastMaskRecipe):
        return _fastmask(recipe)
    counted = [
        mask_rcnn_cost(recipe, COST_IMAGE_HW, rois)
        if isinstance(recipe, MaskRCNNRecipe)
        else mask_rcnn_fpn_cost(recipe, COST_IMAGE_HW, rois)
        for rois in COST_ROIS
    ]
    height, width = COST_IMAGE_HW
    masks = " with 100 masks" if recipe.model.mask else ""
    return f"a {height}x{width} picture{masks}", {
        f"{rois} RoIs": {**dataclasses.asdict(cost), "total": cost.total}
        for rois, cost in zip(COST_ROIS, counted, strict=True)
    }


def _fastmask(recipe: FastMaskRecipe) -> tuple[str, Costs]:
    from ..train.cost import fastmask_cost

    height, width = recipe.input.canvas_hw
    cost = fastmask_cost(recipe)
    parts = {**dataclasses.asdict(cost), "total": cost.total}
    return f"a {height}x{width} picture", {f"{recipe.windows.per_image} proposals": parts}


def _onnx(path: Path) -> OnnxFacts:
    from ..engines.inline import read_exported
    from ..export.macs import graph_macs
    from ..export.precision.fp16 import half_node_share

    model, contract = read_exported(path)
    cost = graph_macs(model)
    return OnnxFacts(
        path=path,
        sha256=sha256_of(path),
        contract=contract,
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        functions=tuple(sorted({function.name for function in model.functions})),
        nodes=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        parameters=cost.parameters,
        macs=cost.macs,
        layer_macs=cost.layer_macs,
        fp16_mac_share=cost.half_layer_share,
        fp16_node_share=half_node_share(model),
        int8_mac_share=cost.share_of("int8"),
        fp8_mac_share=cost.share_of("fp8"),
    )


def _engine(path: Path) -> EngineFacts:
    from ..engines.layers.engine_report import engine_report
    from ..runtime.sidecar import read_sidecar

    sidecar = read_sidecar(path)
    made, found = sidecar.fingerprint, sha256_of(path)
    if found != made.engine_sha256:
        raise SessionError(
            f"{path}: SHA-256 {found[:12]} is not the engine its sidecar describes "
            f"({made.engine_sha256[:12]}). Build it again: {sidecar.rebuild_command(path)}"
        )
    return EngineFacts(path, sidecar, engine_report(path)["engine_layers"])


INSPECTORS: dict[str, Callable[[Path], Facts]] = {
    ".safetensors": _checkpoint,
    ".onnx": _onnx,
    ".engine": _engine,
}
