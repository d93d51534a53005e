"""`maskrt inspect`: what a checkpoint, an ONNX file, an engine or a bundle is, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import Arguments, Result, add_verb
from ..output import print_tables

if TYPE_CHECKING:
    from ...runtime.contract import Contract
    from ...runtime.sidecar import Fingerprint
    from ...workflows.floors import FileFloors
    from ...workflows.inspection import BundleFacts, CheckpointFacts, EngineFacts, OnnxFacts

TOP_OPERATORS = 10


def add(verbs: Any) -> None:
    """Its grammar."""
    text = "what an artefact is: contract, parameters, MACs, layers"
    sub = add_verb(verbs, "inspect", text, run)
    sub.add_argument("file", type=Path)
    sub.add_argument(
        "--gpu",
        metavar="NAMES",
        help="the least time that an ONNX file needs on GPUs of these names or YAML files, "
        "separated by commas, e.g. l4,h100",
    )
    sub.add_argument(
        "--operators",
        choices=["portable", "plugin"],
        default="portable",
        help="with --gpu: count the operators' bodies, or what a plugin moves",
    )
    sub.add_argument("--tf32", action="store_true", help="with --gpu: FP32 products run in TF32")


def run(arguments: Arguments) -> Result:
    """Read the file and print its facts."""
    from ...workflows import inspect_file
    from ...workflows.inspection import BundleFacts, CheckpointFacts

    facts = inspect_file(arguments.file)
    floors = _floors(arguments)
    if isinstance(facts, CheckpointFacts):
        _print_checkpoint(facts)
    elif isinstance(facts, BundleFacts):
        _print_bundle(facts)
    else:
        _print_graph(facts)
    for file in floors:
        print_tables(file.tables)
    return {**facts.to_json(), **({"floors": [f.to_json() for f in floors]} if floors else {})}


def _floors(arguments: Arguments) -> tuple[FileFloors, ...]:
    """One for each graph; none unless a GPU is named."""
    from ...workflows import floors_of_file

    if arguments.gpu is None:
        return ()
    return floors_of_file(arguments.file, arguments.gpu, arguments.operators, tf32=arguments.tf32)


def _print_bundle(facts: BundleFacts) -> None:
    index = facts.index
    shared = 0 if index.weights is None else index.weights.bytes
    print(f"{facts.path}: bundle of {index.variant}, {index.precision}, {len(facts.graphs)} graphs")
    _lines(("size", f"{index.total_bytes / 1e6:.1f} MB, shared weights {shared / 1e6:.1f} MB"))
    for graph in facts.graphs:
        _print_graph(graph)


def _print_graph(facts: OnnxFacts | EngineFacts) -> None:
    from ...workflows.inspection import OnnxFacts

    if isinstance(facts, OnnxFacts):
        _print_onnx(facts)
    else:
        _print_engine(facts)


def _print_checkpoint(facts: CheckpointFacts) -> None:
    print(f"{facts.path}: checkpoint of {facts.recipe}, {facts.origin}")
    _lines(
        ("SHA-256", facts.sha256),
        ("classes", _classes(facts.class_names)),
        ("parameters", f"{facts.parameters / 1e6:.2f} M without norms"),
        ("accuracy", _accuracy(facts.measured, facts.origin)),
    )
    print(f"  GMACs of {facts.costs_of}:")
    parts = next(iter(facts.costs.values()))
    rows = [[name, *map(_giga, cost.values())] for name, cost in facts.costs.items()]
    _columns(["", *(part.replace("_", " ") for part in parts)], rows)


def _print_onnx(facts: OnnxFacts) -> None:
    print(f"{facts.path}: ONNX of {facts.contract.variant}, {facts.contract.precision}")
    opsets = ", ".join(f"{domain} {version}" for domain, version in facts.opsets.items())
    _lines(
        ("SHA-256", facts.sha256),
        *_contract_lines(facts.contract),
        ("opsets", opsets),
        ("functions", ", ".join(facts.functions) or "none"),
        ("nodes", f"{sum(facts.nodes.values())}: {_some_operators(facts.nodes)}"),
        ("parameters", f"{facts.parameters / 1e6:.2f} M"),
        ("MACs", f"{_giga(facts.layer_macs)} G in layers, {_giga(facts.macs)} G in all"),
        ("FP16", f"{facts.fp16_mac_share:.1%} of layer MACs, {facts.fp16_node_share:.1%} of nodes"),
        ("INT8, FP8", f"{facts.int8_mac_share:.1%}, {facts.fp8_mac_share:.1%} of all MACs"),
    )


def _print_engine(facts: EngineFacts) -> None:
    sidecar, made = facts.sidecar, facts.sidecar.fingerprint
    print(f"{facts.path}: engine of {sidecar.contract.variant}, {sidecar.contract.precision}")
    _lines(
        ("SHA-256", made.engine_sha256),
        *_contract_lines(sidecar.contract),
        ("built by", f"{made.runtime} {made.tensorrt_version} in {made.build_seconds:.1f} s"),
        ("runs on", _where_it_runs(made)),
        ("from ONNX", made.onnx_sha256),
        ("size", f"{made.engine_bytes / 1e6:.1f} MB"),
        ("holds", _what_it_holds(made)),
        ("network", facts.network_words),
        ("engine", facts.engine_words),
        ("command", sidecar.rebuild_command(facts.path)),
    )


def _what_it_holds(made: Fingerprint) -> str:
    files = ", ".join(made.weights_sha256)
    return f"no weights: they are in {files}" if files else "its weights"


def _where_it_runs(made: Fingerprint) -> str:
    """The GPUs and the versions of TensorRT, as `fit.py` checks them."""
    gpus = f"{made.gpu_name} ({made.compute_capability})"
    if made.runtime == "tensorrt-rtx":
        gpus = "any RTX GPU"
    elif made.hardware_compatible == "ampere-plus":
        gpus = "compute capability 8.0 and later"
    later = " and later, lean ones too" if made.version_compatible else ""
    return f"{gpus}, {made.runtime} {made.tensorrt_version}{later}"


def _contract_lines(contract: Contract) -> list[tuple[str, str]]:
    height, width = contract.canvas_hw
    tensors = [f"{s.name} {s.dtype}{list(s.shape)}" for s in (*contract.inputs, *contract.outputs)]
    return [
        ("canvas", f"{height}x{width}, batch {contract.batch}"),
        ("tensors", ", ".join(tensors)),
        ("classes", _classes(contract.class_names)),
        ("weights", contract.origin or "of unknown origin"),
        ("pictures", _pictures(contract)),
        ("operators", ", ".join(contract.operators) or "none"),
        ("checkpoint", contract.checkpoint_sha256),
        ("accuracy", _accuracy(contract.measured, contract.origin)),
    ]


def _pictures(contract: Contract) -> str:
    """How a picture is scaled, and what the graph makes of its RGB."""
    rule = contract.resize
    short = f"short side {rule.short_side_px} px, " if rule.short_side_px else ""
    mean, std = (", ".join(f"{v:g}" for v in values) for values in (contract.mean, contract.std))
    return (
        f"{short}long side {rule.long_side_px} px at most; {contract.channel_order}, less "
        f"({mean}), over ({std})"
    )


def _classes(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > 5 else ""
    return f"{len(names)}: {', '.join(names[:5])}{more}"


def _accuracy(measured: dict[str, float], origin: str) -> str:
    """`box_ap: 51.2` as words; what the checkpoint's own val split gave."""
    words = [
        f"{name.replace('_', ' ').replace('ap', 'AP')} {v:.1f}" for name, v in measured.items()
    ]
    since = " since the import" if origin.startswith("imported") else ""
    return ", ".join(words) or f"not measured{since}"


def _some_operators(nodes: dict[str, int]) -> str:
    operators = list(nodes.items())
    shown = ", ".join(f"{name} {count}" for name, count in operators[:TOP_OPERATORS])
    rest = len(operators) - TOP_OPERATORS
    return f"{shown} and {rest} kinds more" if rest > 0 else shown


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f}"


def _lines(*rows: tuple[str, str]) -> None:
    for name, text in rows:
        print(f"  {name:<11}{text}")


def _columns(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("    " + "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)))
