"""The floor of a whole graph on one GPU: the total, its operators, its longest kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .floors import KernelWork, NodeFloor, Operators, floors_of
from .gpus import Gpu


@dataclass(frozen=True)
class OperatorFloor:
    """What all kernels of one operator need at least."""

    operator: str
    """As `KernelWork.kind`."""
    kernels: int
    macs: int
    bytes: int
    ms: float


@dataclass(frozen=True)
class GraphFloor:
    """The least time of one run of a graph; milliseconds, none of them measured."""

    gpu: Gpu
    operators: Operators
    nodes: tuple[NodeFloor, ...]
    """Every kernel, in the order in which they run."""
    uncached_ms: float
    """The same sum where nothing waits in the cache between kernels."""

    @property
    def ms(self) -> float:
        """The floor: the sum over kernels."""
        return sum(node.ms for node in self.nodes)

    @property
    def compute_ms(self) -> float:
        """The multiply-accumulates alone."""
        return sum(node.compute_ms for node in self.nodes)

    @property
    def by_operator(self) -> tuple[OperatorFloor, ...]:
        """The longest first."""
        kinds: dict[str, list[NodeFloor]] = {}
        for node in self.nodes:
            kinds.setdefault(node.work.kind, []).append(node)
        rows = (
            OperatorFloor(
                operator=kind,
                kernels=len(found),
                macs=sum(node.work.macs for node in found),
                bytes=sum(node.bytes for node in found),
                ms=sum(node.ms for node in found),
            )
            for kind, found in kinds.items()
        )
        return tuple(sorted(rows, key=lambda row: -row.ms))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "gpu": dataclasses.asdict(self.gpu),
            "operators": self.operators,
            "floor_ms": self.ms,
            "compute_ms": self.compute_ms,
            "uncached_ms": self.uncached_ms,
            "kernels": len(self.nodes),
            "macs": sum(node.work.macs for node in self.nodes),
            "by_operator": [dataclasses.asdict(row) for row in self.by_operator],
            "nodes": [_node_json(node) for node in self.nodes],
        }


def graph_floor(
    works: Sequence[KernelWork], gpu: Gpu, operators: Operators, *, tf32: bool = False
) -> GraphFloor:
    """The floor of a graph whose kernels are counted.

    Raises:
        InputError: a product's precision is one that the GPU has no units for.

    """
    bare = dataclasses.replace(gpu, l2_mib=0)
    uncached_ms = sum(node.ms for node in floors_of(works, bare, tf32=tf32))
    return GraphFloor(gpu, operators, floors_of(works, gpu, tf32=tf32), uncached_ms)


def _node_json(node: NodeFloor) -> dict[str, Any]:
    work = node.work
    return {
        "name": work.name,
        "operator": work.kind,
        "module": work.scope,
        "precision": work.precision,
        "nodes": len(work.nodes),
        "macs": work.macs,
        "bytes": node.bytes,
        "ms": node.ms,
        "bound": node.bound,
    }
