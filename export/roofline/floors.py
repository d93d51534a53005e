"""The least time of each kernel of a graph, of all of them, and of each node group.

A kernel (fusion.py) needs at least the longer of two times: its multiply-accumulates over the peak
in their precision, and the bytes that it must move (traffic.py) over the bandwidth. Kernels run one
after the other, so the floor of a graph is their sum. Starting a kernel, work that is no product
and whatever a real kernel wastes come on top: a floor is never a measurement. It says what no
engine of this graph can beat.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx

from ..macs import NodeCost, Precision, Tensors, graph_cost, inlined
from ..operators.domain import DOMAIN
from ..typed_graph import scope_of
from .fusion import Kernel, fused, key
from .gpus import Gpu
from .traffic import Moved, Traffic

Operators = Literal["portable", "plugin"]


@dataclass(frozen=True)
class KernelWork:
    """What one kernel has to do, on whatever GPU."""

    name: str
    """Of the node that it is named after, or its output where it has none."""
    op_type: str
    operator: str
    """The `maskrt` operator whose portable body it belongs to, "" for none."""
    scope: str
    """The module that the node, or that operator, comes from."""
    nodes: tuple[str, ...]
    """All nodes of the file in it by name, that of `scope` first."""
    precision: Precision | Literal[""]
    """What its products are computed in; "" where it has none."""
    macs: int
    moved: Moved

    @property
    def kind(self) -> str:
        """The operator, "MaskrtRoiAlign: MatMul" within a body."""
        return f"{self.operator}: {self.op_type}" if self.operator else self.op_type


@dataclass(frozen=True)
class NodeFloor:
    """The least time of one kernel on one GPU."""

    work: KernelWork
    bytes: int
    """From and to memory."""
    compute_ms: float
    memory_ms: float

    @property
    def ms(self) -> float:
        """The longer of both: they can overlap."""
        return max(self.compute_ms, self.memory_ms)

    @property
    def bound(self) -> str:
        """What it waits for: "compute", "memory", or "" where it needs neither."""
        if not self.ms:
            return ""
        return "compute" if self.compute_ms >= self.memory_ms else "memory"


def node_floors(
    model: onnx.ModelProto, gpu: Gpu, operators: Operators = "portable", *, tf32: bool = False
) -> tuple[NodeFloor, ...]:
    """The least time of every kernel of a typed file, in the order in which they run.

    Args:
        model: any ONNX model of fixed shapes, in whatever precisions; left alone.
        gpu: what it would run on.
        operators: `portable` counts the bodies of `maskrt` operators, `plugin` their inputs and
            outputs alone, each moved once.
        tf32: FP32 products run in TF32 where the GPU has it, as `build --tf32` lets them.

    Raises:
        ExportError: shapes cannot be inferred, or one that is needed is not static.
        InputError: a product's precision is one that the GPU has no units for.

    """
    return floors_of(kernel_works(model, operators), gpu, tf32=tf32)


def floors_of(
    works: Collection[KernelWork], gpu: Gpu, *, tf32: bool = False
) -> tuple[NodeFloor, ...]:
    """The same of kernels that are counted already.

    Raises:
        InputError: as `node_floors`.

    """
    full = "tf32" if tf32 and "tf32" in gpu.tera_ops else "fp32"
    return tuple(_floor(work, gpu, full) for work in works)


def kernel_works(
    model: onnx.ModelProto, operators: Operators = "portable", apart: Collection[str] = ()
) -> tuple[KernelWork, ...]:
    """What each kernel of a typed file has to do.

    Args:
        model: as `node_floors`.
        operators: as `node_floors`.
        apart: operators that nothing fuses, to see what fusing them is worth.

    Raises:
        ExportError: as `node_floors`.

    """
    flat = inlined(model, keep_operators=operators == "plugin")
    tensors = Tensors(flat)
    traffic = Traffic(flat.graph, tensors)
    kernels = fused(flat.graph.node, traffic.constant, apart)
    costs = dict(zip(map(key, tensors.products), graph_cost(tensors).nodes, strict=True))
    callers = _callers(model, flat, operators)
    return tuple(
        _work(kernel, moved, costs, callers)
        for kernel, moved in zip(kernels, traffic.moved(kernels), strict=True)
    )


def group_floor_ms(floors: Collection[NodeFloor], groups: Collection[str]) -> dict[str, float]:
    """The floor of every node group, in milliseconds; that of what is in none under "".

    Args:
        floors: of one file on one GPU.
        groups: leaves of `group_tree`: module paths and names of nodes.

    """
    result = dict.fromkeys([*groups, ""], 0.0)
    for floor in floors:
        first, *others = floor.work.nodes
        names = (first, floor.work.scope, *others)
        result[next((name for name in names if name in result), "")] += floor.ms
    return result


def _floor(work: KernelWork, gpu: Gpu, full: str) -> NodeFloor:
    moved = work.moved.ends + sum(map(gpu.beyond_cache, work.moved.between))
    compute_ms = gpu.compute_ms(work.macs, full if work.precision == "fp32" else work.precision)
    return NodeFloor(work, moved, compute_ms, gpu.memory_ms(moved))


def _work(
    kernel: Kernel,
    moved: Moved,
    costs: Mapping[str, NodeCost],
    callers: Mapping[str, onnx.NodeProto],
) -> KernelWork:
    anchor = kernel.anchor
    called = [callers[key(node)] for node in (anchor, *kernel.nodes)]
    products = [cost for node in kernel.nodes if (cost := costs.get(key(node))) is not None]
    return KernelWork(
        name=_name(anchor),
        op_type=anchor.op_type,
        operator=called[0].op_type if called[0].op_type != anchor.op_type else "",
        scope=scope_of(called[0]),
        nodes=tuple(dict.fromkeys(map(_name, called))),
        precision=products[0].precision if products else "",
        macs=sum(cost.macs for cost in products),
        moved=moved,
    )


def _callers(
    model: onnx.ModelProto, flat: onnx.ModelProto, operators: Operators
) -> dict[str, onnx.NodeProto]:
    """The node of the file that each node of the inlined graph stands for: bodies lie in place."""
    bodies = {
        (function.domain, function.name): list(function.node)
        for function in model.functions
        if operators == "portable" or function.domain != DOMAIN
    }

    def length(node: onnx.NodeProto) -> int:
        body = bodies.get((node.domain, node.op_type))
        return 1 if body is None else sum(map(length, body))

    places = [node for node in model.graph.node for _ in range(length(node))]
    return dict(zip(map(key, flat.graph.node), places, strict=True))


def _name(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]
