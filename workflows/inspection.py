"""`maskrt inspect FILE`: what a checkpoint, an ONNX file or an engine is, without running it.

Reads and prints; every figure is counted from the file itself or from the network its recipe makes.
At the repository root because it looks into all folders, as the command line does.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.errors import SessionError
from ..runtime.files import require_file, sha256_of

if TYPE_CHECKING:
    from ..runtime.contract import Contract
    from ..train.recipes.fastmask import FastMaskRecipe
    from ..train.recipes.mask_rcnn import MaskRCNNRecipe

Facts = dict[str, Any]
Costs = dict[str, dict[str, int]]
"""MACs by part, for each number of RoIs or proposals."""

COST_IMAGE_HW = (800, 1200)
COST_ROIS = (300, 1000)
"""Picture and numbers of RoIs at which networks are compared, as in the LSC paper's tables."""
TOP_OPERATORS = 10


def inspect_file(path: Path) -> Facts:
    """Print what `path` is and return the same as JSON values.

    Raises:
        InputError: no such file, a suffix maskrt does not know, or broken contents.
        ConfigError: the recipe beside a checkpoint is not valid.
        SessionError: an engine's sidecar is missing, foreign, or of another engine.
        ExportError: an ONNX file's shapes are not static.
    """
    require_file(path, "an artefact of maskrt", tuple(INSPECTORS))
    facts = INSPECTORS[path.suffix.lower()](path)
    return {"file": str(path), **facts}


def _checkpoint(path: Path) -> Facts:
    from ..train.recipes.mask_rcnn import MaskRCNNRecipe
    from ..train.weights.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    recipe = checkpoint.recipe
    picture, costs = _mask_rcnn(recipe) if isinstance(recipe, MaskRCNNRecipe) else _fastmask(recipe)
    (parameters,) = {cost.pop("parameters") for cost in costs.values()}
    print(f"{path}: checkpoint of {recipe.name}, {_steps(checkpoint.steps)}")
    _lines(
        ("SHA-256", checkpoint.sha256),
        ("classes", _classes(recipe.class_names)),
        ("parameters", f"{parameters / 1e6:.2f} M without norms"),
        ("accuracy", _accuracy(checkpoint.measured)),
    )
    print(f"  GMACs of {picture}:")
    parts = next(iter(costs.values()))
    rows = [[name, *map(_giga, cost.values())] for name, cost in costs.items()]
    _table(["", *(part.replace("_", " ") for part in parts)], rows)
    return {
        "kind": "checkpoint",
        "recipe": recipe.name,
        "steps": checkpoint.steps,
        "sha256": checkpoint.sha256,
        "class_names": list(recipe.class_names),
        "parameters": parameters,
        "measured": checkpoint.measured,
        "macs": {name.split()[0]: cost for name, cost in costs.items()},
    }


def _mask_rcnn(recipe: MaskRCNNRecipe) -> tuple[str, Costs]:
    """The picture, and MACs by part for each number of RoIs."""
    from ..train.macs import mask_rcnn_cost

    height, width = COST_IMAGE_HW
    costs = {f"{n} RoIs": mask_rcnn_cost(recipe, COST_IMAGE_HW, n) for n in COST_ROIS}
    return f"a {height}x{width} picture with 100 masks", {
        name: {**dataclasses.asdict(cost), "total": cost.total} for name, cost in costs.items()
    }


def _fastmask(recipe: FastMaskRecipe) -> tuple[str, Costs]:
    from ..train.macs import fastmask_cost

    height, width = recipe.input.canvas_hw
    cost = fastmask_cost(recipe)
    parts = {**dataclasses.asdict(cost), "total": cost.total}
    return f"a {height}x{width} picture", {f"{recipe.windows.per_image} proposals": parts}


def _onnx(path: Path) -> Facts:
    from ..engines.inline import read_exported
    from ..export.macs import graph_macs
    from ..export.precision.fp16 import precision_report
    from ..export.precision.int8 import int8_mac_share

    model, contract = read_exported(path)
    cost, precision = graph_macs(model), precision_report(model)
    operators = Counter(node.op_type for node in model.graph.node).most_common()
    functions = sorted({function.name for function in model.functions})
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    sha256 = sha256_of(path)
    print(f"{path}: ONNX of {contract.variant}, {contract.precision}")
    _lines(
        ("SHA-256", sha256),
        *_contract_lines(contract),
        ("opsets", ", ".join(f"{domain} {version}" for domain, version in opsets.items())),
        ("functions", ", ".join(functions) or "none"),
        ("nodes", f"{len(model.graph.node)}: {_some_operators(operators)}"),
        ("parameters", f"{cost.parameters / 1e6:.2f} M"),
        ("MACs", f"{_giga(cost.layer_macs)} G in layers, {_giga(cost.macs)} G in all"),
        ("FP16", f"{precision.mac_share:.1%} of layer MACs, {precision.node_share:.1%} of nodes"),
        ("INT8", f"{int8_mac_share(model):.1%} of all MACs"),
    )
    return {
        "kind": "onnx",
        "sha256": sha256,
        "contract": json.loads(contract.to_json()),
        "opsets": opsets,
        "functions": functions,
        "nodes": dict(operators),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "layer_macs": cost.layer_macs,
        "fp16_mac_share": precision.mac_share,
        "fp16_node_share": precision.node_share,
        "int8_mac_share": int8_mac_share(model),
    }


def _engine(path: Path) -> Facts:
    from ..engines.layers.engine_report import engine_report, summary_words
    from ..runtime.sidecar import read_sidecar

    sidecar = read_sidecar(path)
    made = sidecar.fingerprint
    found = sha256_of(path)
    if found != made.engine_sha256:
        raise SessionError(
            f"{path}: SHA-256 {found[:12]} is not the engine its sidecar describes "
            f"({made.engine_sha256[:12]}). Build it again: {sidecar.rebuild_command(path)}"
        )
    report = engine_report(path)
    print(f"{path}: engine of {sidecar.contract.variant}, {sidecar.contract.precision}")
    _lines(
        ("SHA-256", found),
        *_contract_lines(sidecar.contract),
        ("built by", f"{made.runtime} {made.tensorrt_version} in {made.build_seconds:.1f} s"),
        ("for", f"{made.gpu_name} ({made.compute_capability})" if made.gpu_name else "any RTX GPU"),
        ("from ONNX", made.onnx_sha256),
        ("size", f"{made.engine_bytes / 1e6:.1f} MB"),
        ("network", summary_words(sidecar.build.get("network"))),
        ("engine", summary_words(report["engine_layers"])),
        ("command", sidecar.rebuild_command(path)),
    )
    return {"kind": "engine", **report}


def _contract_lines(contract: Contract) -> list[tuple[str, str]]:
    height, width = contract.canvas_hw
    tensors = [f"{s.name} {s.dtype}{list(s.shape)}" for s in (*contract.inputs, *contract.outputs)]
    return [
        ("canvas", f"{height}x{width}, batch {contract.batch}"),
        ("tensors", ", ".join(tensors)),
        ("classes", _classes(contract.class_names)),
        ("operators", ", ".join(contract.operators) or "none"),
        ("checkpoint", contract.checkpoint_sha256),
        ("accuracy", _accuracy(contract.measured)),
    ]


def _steps(steps: int) -> str:
    return f"trained for {steps} steps" if steps else "untrained"


def _classes(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > 5 else ""
    return f"{len(names)}: {', '.join(names[:5])}{more}"


def _accuracy(measured: dict[str, float]) -> str:
    """`box_ap: 51.2` as words; what the checkpoint's own val split gave."""
    words = [
        f"{name.replace('_', ' ').replace('ap', 'AP')} {v:.1f}" for name, v in measured.items()
    ]
    return ", ".join(words) or "not measured"


def _some_operators(operators: list[tuple[str, int]]) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in operators[:TOP_OPERATORS])
    rest = len(operators) - TOP_OPERATORS
    return f"{shown} and {rest} kinds more" if rest > 0 else shown


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f}"


def _lines(*rows: tuple[str, str]) -> None:
    for name, text in rows:
        print(f"  {name:<11}{text}")


def _table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("    " + "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)))


INSPECTORS: dict[str, Callable[[Path], Facts]] = {
    ".safetensors": _checkpoint,
    ".onnx": _onnx,
    ".engine": _engine,
}
