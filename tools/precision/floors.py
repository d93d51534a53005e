"""The least time of full-size networks on every shipped GPU, and the floor against measured runs.

    python -m maskrt.tools.precision.floors FILE.onnx... --out eval/records/roofline.json

Of each FP32 file, in every precision: its floor with portable bodies and with plugins, what changes
of order would cost as copies, and its operators. Networks and precisions that
eval/records/full_size_cpu.json has are set against what it measured, with its own peaks and
bandwidth: a floor above a measured time would be wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import shape_inference

from ...engines.inline import read_exported
from ...eval import environment
from ...export.macs import graph_macs
from ...export.precision.exemptions import left_out
from ...export.precision.mixture import GroupPrecision, Mixture, to_mixture
from ...export.precision.policy import is_layer
from ...export.roofline.floors import KernelWork, Operators, floors_of, kernel_works
from ...export.roofline.gpus import Gpu, shipped_gpus
from ...export.roofline.summary import GraphFloor, graph_floor
from ...export.typed_graph import TypedGraph
from ...runtime.files import sha256_of, write_text

PRECISIONS: tuple[GroupPrecision, ...] = ("fp32", "fp16", "int8", "fp8")
WAYS: tuple[Operators, ...] = ("portable", "plugin")
CHANGES_OF_ORDER = ("Transpose", "DepthToSpace", "SpaceToDepth")
LEAST_SHARE = 0.005
"""Of a floor: operators below it are left out of the record."""
MEASURED = Path(__file__).parents[2] / "eval" / "records" / "full_size_cpu.json"
HALF_ON_CPU = "bf16"
"""What the CPU ran FP16 files in."""
_WITHOUT_RULES = "baseline_plain.onnx"
"""Another graph than is exported today."""
_CPU_CACHE_MIB = 64
"""More than that of any of its cores, so that the floor stays one."""


def records(path: Path) -> Iterator[dict[str, Any]]:
    """A network in every precision on every GPU, from its FP32 file."""
    model, contract = read_exported(path)
    height, width = contract.canvas_hw
    for precision in PRECISIONS:
        yield {
            "network": contract.variant,
            "precision": precision,
            "canvas": f"{height}x{width}",
            "fp32_sha256": sha256_of(path),
            **_floors(typed(model, precision), contract.variant, precision),
        }


def typed(model: onnx.ModelProto, precision: GroupPrecision) -> onnx.ModelProto:
    """An FP32 model as `export --precision` writes it, but for ranges: no floor depends on them."""
    if precision == "fp32":
        return model
    graph = TypedGraph(shape_inference.infer_shapes(model, data_prop=True))
    layers = [node for node in graph.nodes if is_layer(graph, node)]
    names: list[str] = []
    if precision != "fp16":
        excepted = left_out(graph, precision)
        names = [node.name for node in layers if node.name not in excepted]
    ranges = {node.input[0]: 1.0 for node in layers}
    return to_mixture(model, Mixture(dict.fromkeys(names, precision), ranges=ranges))


def _floors(model: onnx.ModelProto, variant: str, precision: str) -> dict[str, Any]:
    works = {way: kernel_works(model, way) for way in WAYS}
    cost = graph_macs(model)
    copied = {way: kernel_works(model, way, CHANGES_OF_ORDER) for way in WAYS}
    return {
        "kernels": {way: len(found) for way, found in works.items()},
        "macs": {way: sum(work.macs for work in found) for way, found in works.items()},
        "gpus": {
            name: {way: _totals(graph_floor(works[way], gpu, way), copied[way]) for way in WAYS}
            for name, gpu in shipped_gpus().items()
            if {work.precision for work in works["portable"]} <= {*gpu.tera_ops, ""}
        },
        "mac_shares": {p: cost.share_of(p) for p in PRECISIONS},
        "measured": list(_against(works["portable"], variant, precision)),
    }


def _totals(floor: GraphFloor, copied: Sequence[KernelWork]) -> dict[str, Any]:
    return {
        "floor_ms": floor.ms,
        "compute_ms": floor.compute_ms,
        "uncached_ms": floor.uncached_ms,
        "copied_ms": sum(node.ms for node in floors_of(copied, floor.gpu)),
        "operators": {
            row.operator: {"ms": row.ms, "kernels": row.kernels, "macs": row.macs}
            for row in floor.by_operator
            if row.ms >= LEAST_SHARE * floor.ms
        },
    }


def _against(works: Sequence[KernelWork], variant: str, precision: str) -> Iterator[dict[str, Any]]:
    """The floor by a CPU's measured peaks beside what the same network took on it."""
    record = json.loads(MEASURED.read_text(encoding="utf-8"))
    floor_rows = {row["name"]: row for row in record["details"]["floor"]["rows"]}
    for backend in record["backends"]:
        row = floor_rows[backend["name"]]
        file = backend["name"].partition("@")[0]
        same = (backend["variant"], backend["precision"]) == (variant, precision)
        if not same or not file.endswith(".onnx") or file == _WITHOUT_RULES:
            continue
        floor = graph_floor(works, _cpu(record["details"]["floor"]), "portable")
        yield {
            "name": backend["name"],
            "backend": backend["backend"],
            "floor_ms": floor.ms,
            "uncached_ms": floor.uncached_ms,
            "measured_ms": row["measured_ms"],
        }


def _cpu(measured: dict[str, Any]) -> Gpu:
    """The machine of the record, FP16 standing for BF16."""
    best = {
        name: max(p["macs_per_s"] for p in measured["peaks"] if p["precision"] == precision)
        for name, precision in (("fp32", "fp32"), ("fp16", HALF_ON_CPU))
    }
    tera_ops = {name: 2e-12 * macs_per_s for name, macs_per_s in best.items()}
    bandwidth = measured["bandwidths_bytes_per_s"]["cpu"] / 1e9
    return Gpu("CPU", tera_ops, bandwidth, _CPU_CACHE_MIB, f"measured in {MEASURED.name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Count and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    record = {
        "what": " ".join((__doc__ or "").split()),
        "commands": [
            "maskrt new NETWORK -o NETWORK.safetensors",
            "maskrt export NETWORK.safetensors -o NETWORK.onnx --canvas CANVAS",
            "python -m maskrt.tools.precision.floors NETWORK.onnx... --out roofline.json",
        ],
        "gpus": {name: gpu.__dict__ for name, gpu in shipped_gpus().items()},
        "files": [found for path in arguments.models for found in records(path)],
        "environment": environment([]),
    }
    write_text(arguments.out, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
