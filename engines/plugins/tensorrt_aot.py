"""The operators as quick deployable plugins of TensorRT 10.9 and later. Importing registers them.

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

import tensorrt as trt
import tensorrt.plugin as trtp

from ...runtime.errors import BuildError
from ...runtime.gpu.cuda import device_info, missing_device
from ...runtime.gpu.kernels.shipped import load_kernel
from .operator_config import (
    NAMESPACE,
    ROI_ALIGN,
    WINDOW_ALIGN,
    Arithmetic,
    RoiAlignCfg,
    WindowAlignCfg,
    parse_roi_align,
    parse_window_align,
    require_words,
)

SYMBOLIC = Arithmetic(cdiv=trtp.cdiv, maximum=trtp.max)
# 10.9 compares with typing's own Union.
Text = Union[str, bytes]  # noqa: UP007


@trtp.register(f"{NAMESPACE}::{ROI_ALIGN}")
def roi_align_output(features: trtp.TensorDesc, rois: trtp.TensorDesc, cfg: str) -> trtp.TensorDesc:
    """(B * K, C, P, P) of the features' dtype."""
    shape = parse_roi_align(cfg).output_shape(features.shape_expr, rois.shape_expr)
    return trtp.from_shape_expr(shape, features.dtype)


@trtp.aot_impl(f"{NAMESPACE}::{ROI_ALIGN}")
def roi_align_launch(
    features: trtp.TensorDesc,
    rois: trtp.TensorDesc,
    cfg: str,
    outputs: tuple[trtp.TensorDesc],
    tactic: int,
) -> tuple[Text, Text, trtp.KernelLaunchParams, trtp.SymExprs]:
    """The kernel for the features' dtype on this machine's GPU."""
    _require(ROI_ALIGN, rois, trt.DataType.FLOAT)
    return _launch(ROI_ALIGN, parse_roi_align(cfg), features, rois)


@trtp.register(f"{NAMESPACE}::{WINDOW_ALIGN}")
def window_align_output(
    pyramid: trtp.TensorDesc, index: trtp.TensorDesc, cfg: str
) -> trtp.TensorDesc:
    """(B * K, size, size, C) of the pyramid's dtype."""
    channels = pyramid.shape_expr[2]
    if not channels.is_fake and channels.is_constant:
        require_words(WINDOW_ALIGN, channels.constant_value(), _is_half(WINDOW_ALIGN, pyramid))
    shape = parse_window_align(cfg).output_shape(pyramid.shape_expr, index.shape_expr)
    return trtp.from_shape_expr(shape, pyramid.dtype)


@trtp.aot_impl(f"{NAMESPACE}::{WINDOW_ALIGN}")
def window_align_launch(
    pyramid: trtp.TensorDesc,
    index: trtp.TensorDesc,
    cfg: str,
    outputs: tuple[trtp.TensorDesc],
    tactic: int,
) -> tuple[Text, Text, trtp.KernelLaunchParams, trtp.SymExprs]:
    """The kernel that moves 32-bit words."""
    _require(WINDOW_ALIGN, index, trt.DataType.INT64)
    return _launch(WINDOW_ALIGN, parse_window_align(cfg), pyramid, index)


def _launch(
    operator: str, cfg: RoiAlignCfg | WindowAlignCfg, first: Any, second: Any
) -> tuple[str, str, Any, Any]:
    """Entry, PTX, launch parameters and extra arguments, as TensorRT wants them."""
    half = _is_half(operator, first)
    kernel = load_kernel(cfg.kernel_name(half), _compute_capability(operator))
    launch = cfg.launch(kernel, first.shape_expr, second.shape_expr, half, SYMBOLIC)
    parameters = trtp.KernelLaunchParams(*launch.grid)
    parameters.block_x = kernel.threads
    parameters.shared_mem = kernel.shared_bytes
    assert len(kernel.arguments) == len(launch.scalars) + 3, kernel.arguments
    return kernel.entry, kernel.ptx, parameters, trtp.SymExprs.from_tuple(launch.scalars)


def _compute_capability(operator: str) -> str:
    """Of the GPU the engine is built on and for."""
    gpu = device_info()
    if gpu is None:
        raise BuildError(
            f"{operator}: no NVIDIA GPU answers ({missing_device()}); expected the one to build "
            "for, as its kernel is chosen now. Build with '--operators portable'."
        )
    return gpu.compute_capability


def _is_half(operator: str, tensor: Any) -> bool:
    """Whether a tensor is FP16 and not FP32; anything else is refused."""
    if tensor.dtype not in (trt.DataType.HALF, trt.DataType.FLOAT):
        raise BuildError(
            f"{operator}: {tensor.dtype} features found; the kernels compute in FP16 and FP32. "
            "Export with '--precision fp16' or 'fp32'."
        )
    return bool(tensor.dtype == trt.DataType.HALF)


def _require(operator: str, tensor: Any, dtype: Any) -> None:
    if tensor.dtype != dtype:
        raise BuildError(
            f"{operator}: second input {tensor.dtype} found; expected {dtype}. Export it again."
        )
