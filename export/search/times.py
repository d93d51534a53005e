"""How long each node group takes in each precision: what a choice of precisions gains.

Either the floor of a named GPU (export/roofline), or what layers of engines were measured to take
(engines/layers/layer_profile.py); what a profile lacks, a group in a precision that its engine did
not have, is scaled by the floors of both. Which it is, `source` says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..precision.groups import Kept
from ..precision.mixed_graph import HALF_MAX
from ..precision.mixture import GroupPrecision
from ..roofline.floors import NodeFloor, group_floor_ms, node_floors
from ..roofline.gpus import Gpu
from ..typed_graph import scope_of
from .trials import Choice

Mixed = Callable[[onnx.ModelProto, Choice], onnx.ModelProto]
ByGroup = Mapping[str, Mapping[GroupPrecision, float]]


class Times(Protocol):
    """Milliseconds of groups: the least that a GPU needs, or measured ones."""

    @property
    def source(self) -> str:
        """Whence they are, half a sentence; a floor is never called measured."""

    @property
    def by_group(self) -> ByGroup:
        """Milliseconds by group and precision."""

    def total(self, choice: Choice) -> float:
        """Milliseconds of a run of the whole model."""


@dataclass(frozen=True)
class FloorTimes:
    """The least that one GPU needs, by its data sheet."""

    by_group: ByGroup
    gpu: Gpu
    _floors: Callable[[Choice], tuple[NodeFloor, ...]]

    @property
    def source(self) -> str:
        """The GPU and its data sheet."""
        return f"floors of {self.gpu.name} by its data sheet, not measured ({self.gpu.source})"

    def total(self, choice: Choice) -> float:
        """The floor of the choice's own file, conversions included."""
        return sum(floor.ms for floor in self._floors(choice))


def floor_times(
    model: onnx.ModelProto,
    mixed: Mixed,
    gpu: Gpu,
    uniform: Mapping[GroupPrecision, Choice],
) -> FloorTimes:
    """The floors of a model's groups on a GPU.

    Args:
        model: FP32; left alone.
        mixed: makes the typed model of a choice from it.
        gpu: what it would run on.
        uniform: by precision, the choice in which every group that can has it.

    Raises:
        InputError: the GPU lacks one of the precisions.
        ExportError: shapes are not static.
    """
    model = _within_half(model)

    def floors(choice: Choice) -> tuple[NodeFloor, ...]:
        return node_floors(mixed(model, choice), gpu)

    names = [*next(iter(uniform.values()))]
    columns = {level: group_floor_ms(floors(choice), names) for level, choice in uniform.items()}
    by_group = {name: {level: column[name] for level, column in columns.items()} for name in names}
    return FloorTimes(by_group, gpu, floors)


@dataclass(frozen=True)
class MeasuredLayer:
    """One layer of an engine as `layer_profile` timed it."""

    onnx: tuple[str, ...]
    precision: str
    """float32, float16, or "" where its inputs are no floats."""
    ms: float


@dataclass(frozen=True)
class MeasuredTimes:
    """What engines were measured to take, completed by floors."""

    by_group: ByGroup
    source: str
    rest_ms: float
    """Of layers in no group."""

    def total(self, choice: Choice) -> float:
        """The sum over groups and the rest."""
        return sum(self.by_group[name][level] for name, level in choice.items()) + self.rest_ms


def measured_times(
    profiles: Sequence[Sequence[MeasuredLayer]],
    source: str,
    group_of: Mapping[str, str],
    floors: FloorTimes,
) -> MeasuredTimes:
    """Milliseconds of groups from layer profiles, one or one for each precision.

    Args:
        profiles: the layers of each engine.
        source: which engines, on what.
        group_of: the group of each ONNX node, by name.
        floors: what scales a group into a precision that no engine ran it in.
    """
    seen: dict[str, dict[GroupPrecision, float]] = defaultdict(dict)
    rest_ms = 0.0
    for layers in profiles:
        groups, rest_ms = _by_group(layers, group_of)
        for name, (level, ms) in groups.items():
            seen[name][level] = ms
    by_group = {name: _completed(seen.get(name, {}), row) for name, row in floors.by_group.items()}
    return MeasuredTimes(by_group, source, rest_ms)


def _by_group(
    layers: Sequence[MeasuredLayer], group_of: Mapping[str, str]
) -> tuple[dict[str, tuple[GroupPrecision, float]], float]:
    """Precision and time of each group; a layer of several groups is shared out evenly."""
    parts: dict[str, list[tuple[float, GroupPrecision]]] = defaultdict(list)
    rest_ms = 0.0
    for layer in layers:
        names = {group_of[node] for node in layer.onnx if node in group_of}
        if not names:
            rest_ms += layer.ms
        for name in names:
            parts[name].append((layer.ms / len(names), _LEVELS.get(layer.precision, "int8")))
    return {
        name: (max(found)[1], sum(ms for ms, _ in found)) for name, found in parts.items()
    }, rest_ms


_LEVELS: dict[str, GroupPrecision] = {"float32": "fp32", "float16": "fp16", "bf16": "fp16"}


def _completed(
    measured: Mapping[GroupPrecision, float], floors: Mapping[GroupPrecision, float]
) -> dict[GroupPrecision, float]:
    """A group's measured times, and its others by the ratio of floors to the nearest measured."""
    if not measured:
        return dict(floors)
    base = "fp16" if "fp16" in measured else next(iter(measured))
    scale = measured[base] / floors[base] if floors.get(base) else 1.0
    return {level: measured.get(level, ms * scale) for level, ms in floors.items()}


def _within_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose stored values fit FP16: they cost the same time."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            if np.abs(values).max(initial=0) > HALF_MAX:
                clipped = np.clip(values, -HALF_MAX, HALF_MAX)
                tensor.CopyFrom(numpy_helper.from_array(clipped, tensor.name))
    return copy


def group_of_nodes(model: onnx.ModelProto, names: Kept) -> dict[str, str]:
    """The group of each node that is in one, by the node's name."""
    found = {}
    for node in model.graph.node:
        group = next((name for name in (node.name, scope_of(node)) if name in names), None)
        if group is not None:
            found[node.name] = group
    return found
