"""The operators as quick deployable plugins of TensorRT 10.16 and later. Importing registers them.

A quick deployable plugin is two functions: one describes the output, one names a kernel and its
launch *ahead of time*. The kernel's PTX is then part of the engine, which runs without Python and
without this package. The parser takes the plugin for a node whose `plugin_namespace` and operator
are those registered here, instead of the node's ONNX function.

TensorRT reads the annotations as objects: `from __future__ import annotations` would break this
file. Nothing may register twice, so import it once, as this package's module. Exceptions do not
leave TensorRT's callbacks: it prints them and the build fails.
Source: Python layer of TensorRT 10.9 to 11.4, `tensorrt.plugin`.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any, Union

import tensorrt.plugin as trtp

from ...runtime.errors import BuildError
from ...runtime.gpu.cuda import device_info, missing_device
from ...runtime.gpu.kernels.shipped import load_kernel
from ...runtime.sessions.trt.tensorrt_module import numpy_name
from .operator_config import (
    NAMESPACE,
    PARSERS,
    WINDOW_ALIGN,
    Arithmetic,
    require_types,
    require_words,
)

SYMBOLIC = Arithmetic(cdiv=trtp.cdiv, maximum=trtp.max)
# 10.9 compares with typing's own Union.
Text = Union[str, bytes]  # noqa: UP007


def _register(operator: str) -> None:
    """Both functions of an operator; TensorRT wants the same parameter names in both."""

    @trtp.register(f"{NAMESPACE}::{operator}")
    def output(first: trtp.TensorDesc, second: trtp.TensorDesc, cfg: str) -> trtp.TensorDesc:
        """The output's shape; its dtype is the first input's."""
        if operator == WINDOW_ALIGN:
            _require_words(first)
        shape = PARSERS[operator](cfg).output_shape(first.shape_expr, second.shape_expr)
        return trtp.from_shape_expr(shape, first.dtype)

    @trtp.aot_impl(f"{NAMESPACE}::{operator}")
    def launch(
        first: trtp.TensorDesc,
        second: trtp.TensorDesc,
        cfg: str,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[Text, Text, trtp.KernelLaunchParams, trtp.SymExprs]:
        """Entry, PTX, launch parameters and extra arguments, for this machine's GPU."""
        require_types(operator, numpy_name(first.dtype), numpy_name(second.dtype))
        half, parsed = _is_half(first), PARSERS[operator](cfg)
        kernel = load_kernel(parsed.kernel_name(half), _compute_capability(operator))
        planned = parsed.launch(kernel, first.shape_expr, second.shape_expr, half, SYMBOLIC)
        parameters = trtp.KernelLaunchParams(*planned.grid)
        parameters.block_x = kernel.threads
        parameters.shared_mem = kernel.shared_bytes
        assert len(kernel.arguments) == len(planned.scalars) + 3, kernel.arguments
        return kernel.entry, kernel.ptx, parameters, trtp.SymExprs.from_tuple(planned.scalars)


for _operator in PARSERS:
    _register(_operator)


def _require_words(pyramid: Any) -> None:
    """Refuse half a word per cell once TensorRT tells the sizes; its first call does not."""
    channels = pyramid.shape_expr[2]
    if not channels.is_fake and channels.is_constant:
        require_words(channels.constant_value(), _is_half(pyramid))


def _is_half(tensor: Any) -> bool:
    return numpy_name(tensor.dtype) == "float16"


def _compute_capability(operator: str) -> str:
    """Of the GPU the engine is built on and for."""
    gpu = device_info()
    if gpu is None:
        raise BuildError(
            f"{operator}: no NVIDIA GPU answers ({missing_device()}); expected the one to build "
            "for, as its kernel is chosen now. Build with '--operators portable'."
        )
    return gpu.compute_capability
