"""The operators as plugins of TensorRT-RTX, which knows no ahead-of-time plugins.

A plugin is a Python object with TensorRT's version 3 interface. TensorRT-RTX asks it for shapes and
formats while it builds, which needs no GPU, and calls `enqueue` when the engine runs, which starts
the shipped kernel. Plugins are not part of the engine: it opens only in a process that called
`register_plugins`. Under a CUDA graph the kernel is recorded and Python is left out.

Exceptions do not leave TensorRT's callbacks: it prints them and the build or the run fails.

When its ONNX parser adds a plugin layer it opens `libtensorrt_rtx.so`. The Python wheel has only
`libtensorrt_rtx.so.1`, and the parser's answer to a missing library is to end the process. A file
of that name on the search path would do, but the path is fixed when a process starts and the
wheel's folder is not ours to write to. The loader also takes a library that is already loaded under
the name asked for, its SONAME, and looks symbols up in what that library needs. So an empty library
of a few hundred bytes is loaded here: SONAME `libtensorrt_rtx.so`, needs `libtensorrt_rtx.so.1`.

Source: TensorRT-RTX 1.7 Python API, IPluginV3 (builds on a CPU; `enqueue` untried on a GPU); the
library's name found by experiment; ELF specification, dynamic linking.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_rtx as trt

from ...runtime.errors import BuildError
from ...runtime.gpu.kernels.launch import kernel_here
from ...runtime.sessions.trt.tensorrt_module import numpy_name
from .operator_config import (
    FIRST_INPUT,
    NAMESPACE,
    PARSERS,
    SECOND_INPUT,
    VERSION,
    WINDOW_ALIGN,
    require_words,
)

ASKED_FOR = "libtensorrt_rtx.so"
THERE = "libtensorrt_rtx.so.1"

ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 1, 2, 0x6474E551
DT_NULL, DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB = 0, 1, 4, 5, 6
DT_STRSZ, DT_SYMENT, DT_SONAME = 10, 11, 14
READ_WRITE = 6
EHDR_BYTES, PHDR_BYTES, SYM_BYTES, DYN_BYTES = 64, 56, 24, 16


@functools.cache
def register_plugins() -> tuple[Creator, ...]:
    """Register both operators, before a model is parsed or an engine opened; calls may repeat.

    Returns:
        the creators, one per operator; TensorRT keeps no reference, the cache of this call does.

    Raises:
        BuildError: the parser would not find its library.
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
        tensor, first = tensors[position].desc, tensors[0].desc
        dtype = numpy_name(tensor.type)
        if position == 1:
            fits = dtype == SECOND_INPUT[self.plugin_name]
        else:
            fits = dtype in FIRST_INPUT and tensor.type == first.type
        return bool(fits and tensor.format == trt.TensorFormat.LINEAR)

    def configure_plugin(self, inputs: Any, outputs: Any) -> None:
        """Refuse what the kernel cannot compute; BuildError is printed and fails the build."""
        if self.plugin_name == WINDOW_ALIGN:
            half = inputs[0].desc.type == trt.DataType.HALF
            require_words(int(inputs[0].desc.dims[2]), half)

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


@functools.cache
def give_second_name() -> None:
    """Make `libtensorrt_rtx.so` resolvable in this process, once TensorRT-RTX is imported.

    Raises:
        BuildError: not Linux on x86-64 or 64-bit Arm, or the loader refuses the library.
    """
    machine = ELF_MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None:
        raise BuildError(
            f"tensorrt-rtx: {sys.platform} on {platform.machine()} found; plugins can be built on "
            "Linux, x86_64 or aarch64. Build with '--operators portable'."
        )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, ASKED_FOR)
            path.write_bytes(empty_library(ASKED_FOR, THERE, machine))
            ctypes.CDLL(str(path))
        ctypes.CDLL(ASKED_FOR)  # what the parser will do
    except OSError as err:
        raise BuildError(
            f"tensorrt-rtx: {ASKED_FOR} cannot be loaded ({err}), and its parser would end the "
            "process without it. Build with '--operators portable'."
        ) from err


def empty_library(soname: str, needed: str, machine: int) -> bytes:
    """An ELF shared library of one name and one dependency, without a symbol of its own."""
    strings = b"\0" + soname.encode() + b"\0" + needed.encode() + b"\0"
    symbols = EHDR_BYTES + 3 * PHDR_BYTES
    hashes = symbols + SYM_BYTES
    text = hashes + 16
    dynamic = -(-(text + len(strings)) // DYN_BYTES) * DYN_BYTES
    entries = (
        (DT_NEEDED, 1 + len(soname) + 1),
        (DT_SONAME, 1),
        (DT_HASH, hashes),
        (DT_STRTAB, text),
        (DT_SYMTAB, symbols),
        (DT_STRSZ, len(strings)),
        (DT_SYMENT, SYM_BYTES),
        (DT_NULL, 0),
    )
    end = dynamic + DYN_BYTES * len(entries)
    # type 3: a shared object; version 1; three program headers follow this one; no sections
    identity = b"\x7fELF\2\1\1"
    header = struct.pack("<16sHHI", identity, 3, machine, 1)
    header += struct.pack("<QQQI", 0, EHDR_BYTES, 0, 0)
    header += struct.pack("<HHHHHH", EHDR_BYTES, PHDR_BYTES, 3, 64, 0, 0)
    # the loader writes into the dynamic section; without the third header the stack would become
    # executable
    header += _segment(PT_LOAD, 0, end, 0x1000)
    header += _segment(PT_DYNAMIC, dynamic, DYN_BYTES * len(entries), 8)
    header += _segment(PT_GNU_STACK, 0, 0, 16)
    one_empty_bucket = struct.pack("<IIII", 1, 1, 0, 0)
    body = (header + bytes(SYM_BYTES) + one_empty_bucket + strings).ljust(dynamic, b"\0")
    return body + b"".join(struct.pack("<qQ", *entry) for entry in entries)


def _segment(kind: int, offset: int, size: int, alignment: int) -> bytes:
    """A program header of bytes that lie in memory where they lie in the file."""
    at = (offset, offset, offset)
    return struct.pack("<IIQQQQQQ", kind, READ_WRITE, *at, size, size, alignment)
