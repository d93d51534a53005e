"""The operators as plugins of TensorRT-RTX, which knows no ahead-of-time plugins.

A plugin is a Python object with TensorRT's version 3 interface. TensorRT-RTX asks it for shapes and
formats while it builds, which needs no GPU, and calls `enqueue` when the engine runs, which starts
the shipped kernel. Plugins are not part of the engine: it opens only in a process that called
`register_plugins`. Under a CUDA graph the kernel is recorded and Python is left out.

Exceptions do not leave TensorRT's callbacks: it prints them and the build or the run fails.
Source: TensorRT-RTX 1.7 Python API, IPluginV3 (builds on a CPU; `enqueue` untried on a GPU).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorrt_rtx as trt

from ...runtime.gpu.kernels.launch import kernel_here
from .operator_config import (
    NAMESPACE,
    ROI_ALIGN,
    VERSION,
    WINDOW_ALIGN,
    RoiAlignCfg,
    WindowAlignCfg,
    parse_roi_align,
    parse_window_align,
    require_words,
)
from .second_name import give_second_name

PARSERS: dict[str, Callable[[str], RoiAlignCfg | WindowAlignCfg]] = {
    ROI_ALIGN: parse_roi_align,
    WINDOW_ALIGN: parse_window_align,
}
FLOATS = (trt.DataType.HALF, trt.DataType.FLOAT)
SECOND_INPUT = {ROI_ALIGN: trt.DataType.FLOAT, WINDOW_ALIGN: trt.DataType.INT64}


@functools.cache
def register_plugins() -> tuple[Creator, ...]:
    """Register both operators, before a model is parsed or an engine opened; calls may repeat.

    Returns:
        the creators, one per operator; TensorRT keeps no reference, the cache of this call does.

    Raises:
        BuildError: the parser would not find its library (`second_name`).
    """
    give_second_name()
    creators = tuple(Creator(operator) for operator in PARSERS)
    for creator in creators:
        trt.get_plugin_registry().register_creator(creator, NAMESPACE)
    return creators


class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc]
    """Makes an operator's plugins: from nodes while building, from engines while opening them."""

    def __init__(self, operator: str) -> None:
        trt.IPluginCreatorV3One.__init__(self)
        self.name = operator
        self.plugin_namespace = NAMESPACE
        self.plugin_version = VERSION
        field = trt.PluginField("cfg", np.array([], np.int8), trt.PluginFieldType.CHAR)
        self.field_names = trt.PluginFieldCollection([field])

    def create_plugin(self, name: str, fields: Any, phase: Any) -> Plugin:
        """A plugin for the node `name`."""
        text = next((bytes(f.data).decode() for f in fields if f.name == "cfg"), "")
        return Plugin(self.name, text.rstrip("\0"))


class Plugin(
    trt.IPluginV3,  # type: ignore[misc]
    trt.IPluginV3OneCore,  # type: ignore[misc]
    trt.IPluginV3OneBuild,  # type: ignore[misc]
    trt.IPluginV3OneRuntime,  # type: ignore[misc]
):
    """One node. Its inputs are features and boxes, or a pyramid and window numbers."""

    def __init__(self, operator: str, cfg: str) -> None:
        trt.IPluginV3.__init__(self)
        trt.IPluginV3OneCore.__init__(self)
        trt.IPluginV3OneBuild.__init__(self)
        trt.IPluginV3OneRuntime.__init__(self)
        self.plugin_name = operator
        self.plugin_version = VERSION
        self.plugin_namespace = NAMESPACE
        self.num_outputs = 1
        self._cfg = PARSERS[operator](cfg)
        # a field refers to this memory and does not copy it
        self._cfg_bytes = np.frombuffer(cfg.encode(), np.int8)
        self._half = False

    def get_capability_interface(self, kind: Any) -> Plugin:
        """One object is all three of TensorRT's interfaces."""
        return self

    def get_output_data_types(self, types: list[Any]) -> list[Any]:
        """The dtype of the first input."""
        return [types[0]]

    def get_output_shapes(self, inputs: Any, shape_inputs: Any, builder: Any) -> list[Any]:
        """The output's shape as expressions of the inputs'."""
        times = functools.partial(builder.operation, trt.DimensionOperation.PROD)
        first, second = ([_Size(size, times) for size in dims] for dims in inputs)
        shape = self._cfg.output_shape(first, second)
        output = trt.DimsExprs(len(shape))
        for axis, size in enumerate(shape):
            output[axis] = builder.constant(size) if isinstance(size, int) else size.expression
        return [output]

    def supports_format_combination(self, position: int, tensors: Any, inputs: int) -> bool:
        """Row-major only: FP16 or FP32 as the first input is, the second of its own dtype."""
        found = tensors[position].desc
        if position == 1:
            fits = found.type == SECOND_INPUT[self.plugin_name]
        else:
            fits = found.type in FLOATS and found.type == tensors[0].desc.type
        return bool(fits and found.format == trt.TensorFormat.LINEAR)

    def configure_plugin(self, inputs: Any, outputs: Any) -> None:
        """Refuse what the kernel cannot compute; BuildError is printed and fails the build."""
        if self.plugin_name == WINDOW_ALIGN:
            half = inputs[0].desc.type == trt.DataType.HALF
            require_words(WINDOW_ALIGN, int(inputs[0].desc.dims[2]), half)

    def attach_to_context(self, context: Any) -> Plugin:
        """The plugin of one execution context."""
        return self.clone()

    def on_shape_change(self, inputs: Any, outputs: Any) -> None:
        """Called before the first `enqueue`."""
        self._half = inputs[0].type == trt.DataType.HALF

    def enqueue(
        self,
        inputs: Any,
        outputs: Any,
        pointers: list[int],
        results: list[int],
        workspace: int,
        stream: int,
    ) -> None:
        """Queue the kernel on TensorRT's stream."""
        loaded = kernel_here(self._cfg.kernel_name(self._half))
        first, second = (tuple(int(n) for n in tensor.dims) for tensor in inputs)
        launch = self._cfg.launch(loaded.kernel, first, second, self._half)
        loaded.launch(launch.grid, pointers, launch.scalars, results[0], stream)

    def get_fields_to_serialize(self) -> Any:
        """What the engine keeps of this plugin."""
        field = trt.PluginField("cfg", self._cfg_bytes, trt.PluginFieldType.CHAR)
        return trt.PluginFieldCollection([field])

    def clone(self) -> Plugin:
        """A second plugin of the same node."""
        copy = Plugin(self.plugin_name, self._cfg_bytes.tobytes().decode())
        copy.__dict__.update(self.__dict__)
        return copy

    def set_tactic(self, tactic: int) -> None:
        """There is one."""


@dataclass(frozen=True)
class _Size:
    """A dimension expression that multiplies like an int."""

    expression: Any
    times: Callable[[Any, Any], Any]

    def __mul__(self, other: _Size) -> _Size:
        return _Size(self.times(self.expression, other.expression), self.times)
