"""The ways to compute a custom operator on this machine, each ready to be checked and timed.

On a CPU a call is timed by the host's clock. On a GPU it is a share of `LAUNCHES` calls between two
CUDA events, which start behind work already queued, so launches do not wait for Python; only ONNX
Runtime keeps its own stream and is timed by the host's clock until that has finished.

Outputs are written to memory made before, but by torch and torchvision, which allocate theirs.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...engines.plugins.operator_config import (
    OperatorCfg,
    PyramidRoiAlignCfg,
    RoiAlignCfg,
    WindowAlignCfg,
)
from ...eval.timing.operators import COPIED_BYTES, COPIES, Implementation, wall_clock
from ...runtime.errors import BuildError, SessionError, first_line
from ...runtime.gpu import cuda
from ...runtime.sessions.ort_module import provider_trouble
from ...runtime.sessions.ort_providers import CPU, CUDA
from .cases import Case
from .models import BASELINE, operator_models

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

Array = npt.NDArray[Any]

LAUNCHES = 20
"""Calls between two events: an event costs microseconds, as a call does."""
AHEAD = 5
"""Calls queued before the first event."""
FP32_TOLERANCE = 1e-4
"""A position's FP32 rounding, 84 cells * 2^-24, times the steepest slope, 2 per cell, some times
over; the kernels' products of FP16 halves add 2^-21."""
FP16_TOLERANCE = 2e-3
"""Features, weights, products and outputs rounded to 11 bits, of values up to 1."""
HALF_BOXES_TOLERANCE = 0.5
"""For torchvision in FP16, whose boxes are FP16 too: whole pixels from 1024 px on, and positions
rounded to a sixteenth of a cell again and again. Unrelated maps differ by more."""


def ways(case: Case, stack: contextlib.ExitStack) -> tuple[list[Implementation], dict[str, str]]:
    """Every implementation that works here, and why each of the others does not, by name.

    The first is the body that export writes, which runs anywhere and is what is right. GPU memory
    lives as long as `stack`.
    """
    made, absent = [], {}
    for name, make in _makers(case, stack):
        try:
            made.append(make(name))
        except (SessionError, BuildError) as err:
            absent[name] = str(err)
    return made, absent


def _makers(
    case: Case, stack: contextlib.ExitStack
) -> Iterator[tuple[str, Callable[[str], Implementation]]]:
    for device in ("cpu", "cuda"):
        # ONNX Runtime's CPU provider computes FP16 in FP32: only a GPU has such rows.
        for half in (False, True) if device == "cuda" else (False,):
            where = f"{device.upper()} {_precision(half)}"
            for model, proto in operator_models(case, half).items():
                yield f"{model}, {where}", functools.partial(_onnx, case, proto, half, device)
            yield f"torch operator, {where}", functools.partial(_torch, case, half, device)
    for half in (False, True):
        yield f"PTX kernel, CUDA {_precision(half)}", functools.partial(_ptx, case, half, stack)
        if isinstance(case.cfg, RoiAlignCfg):
            name = f"torchvision, CUDA {_precision(half)}"
            yield name, functools.partial(_torchvision, case, half)


def _onnx(case: Case, model: onnx.ModelProto, half: bool, device: str, name: str) -> Implementation:
    """A model in ONNX Runtime, inputs and output bound to memory of the device."""
    import onnxruntime as ort

    provider = CUDA if device == "cuda" else CPU
    trouble = provider_trouble(provider)
    if trouble is not None:
        raise SessionError(f"{provider} cannot start ({trouble})")
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    # products in TF32 have 11 bits, which is not the FP32 that the row is called
    exact = {"use_tf32": "0"} if device == "cuda" else {}
    try:
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=[(provider, exact)]
        )
    except Exception as err:  # its errors share no base class
        raise SessionError(first_line(err)) from err
    binding = session.io_binding()
    for key, array in zip(("X", "second"), case.inputs(half), strict=True):
        binding.bind_ortvalue_input(key, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
    dtype = np.float16 if half else np.float32
    output = ort.OrtValue.ortvalue_from_shape_and_type(case.output_shape, dtype, device, 0)
    binding.bind_ortvalue_output("Y", output)

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    def result() -> Array:
        call()
        return np.array(output.numpy())

    return _implementation(case, half, device, name, wall_clock(call), result)


def _torch(case: Case, half: bool, device: str, name: str) -> Implementation:
    """The operator that trains; of a bin step it makes all bins and takes some."""
    import torch

    _require_torch(device)
    first, second = (torch.from_numpy(array).to(device) for array in case.inputs(half))
    compute = functools.partial(_torch_call, case.cfg)
    return _torch_implementation(case, half, device, name, lambda: compute(first, second))


def _torch_call(cfg: OperatorCfg, first: Tensor, second: Tensor) -> Tensor:
    if isinstance(cfg, WindowAlignCfg):
        from ...train.networks.windows import window_align

        return window_align(first, second, cfg.levels)
    if isinstance(cfg, PyramidRoiAlignCfg):
        return _pyramid_call(cfg, first, second)
    from ...train.networks.roi_align import roi_align

    bins = roi_align(first, second, cfg.output_size, 1 / cfg.stride_px, cfg.sampling_ratio)
    return bins[:, :, :: cfg.bin_step, :: cfg.bin_step].contiguous()


def _pyramid_call(cfg: PyramidRoiAlignCfg, atlas: Tensor, rois: Tensor) -> Tensor:
    from ...train.networks.pyramid.roi_align import maps_of, pyramid_roi_align

    maps = maps_of(atlas, cfg.levels)
    how = (cfg.output_size, cfg.strides_px, cfg.sampling_ratio, cfg.borders_px2)
    return pyramid_roi_align(maps, rois, *how, aligned=cfg.aligned).contiguous()


def _torchvision(case: Case, half: bool, name: str) -> Implementation:
    """The kernel of torchvision; boxes in the precision of the features, as it asks."""
    import torch

    _require_torch("cuda")
    try:
        operators = importlib.import_module("torchvision.ops")
    except ImportError as err:
        raise SessionError(f"torchvision is not installed ({err})") from err
    assert isinstance(case.cfg, RoiAlignCfg)
    cfg = case.cfg
    first, boxes = (torch.from_numpy(array).cuda() for array in case.inputs(half))
    lists = [boxes[image].to(first.dtype) for image in range(len(boxes))]

    def compute() -> Tensor:
        bins: Tensor = operators.roi_align(
            first, lists, cfg.output_size, 1 / cfg.stride_px, cfg.sampling_ratio, aligned=True
        )
        return bins[:, :, :: cfg.bin_step, :: cfg.bin_step].contiguous()

    tolerance = HALF_BOXES_TOLERANCE if half else None
    return _torch_implementation(case, half, "cuda", name, compute, tolerance)


def _require_torch(device: str) -> None:
    import torch

    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise SessionError("torch sees no GPU")
    from ...train.torch_session import forbid_tf32

    forbid_tf32()


def _torch_implementation(
    case: Case,
    half: bool,
    device: str,
    name: str,
    compute: Callable[[], Tensor],
    tolerance: float | None = None,
) -> Implementation:
    import torch

    call = torch.inference_mode()(compute)
    clock = wall_clock(call)
    if device == "cuda":
        stream = torch.cuda.current_stream().cuda_stream
        clock = functools.partial(_events_ms, call, stream)
    return _implementation(
        case, half, device, name, clock, lambda: call().cpu().numpy(), tolerance=tolerance
    )


def _ptx(case: Case, half: bool, stack: contextlib.ExitStack, name: str) -> Implementation:
    """The shipped kernel, launched as the plugins launch it."""
    from ...runtime.gpu.kernels.launch import kernel_here

    reason = cuda.missing_device()
    if reason is not None:
        raise SessionError(f"no NVIDIA GPU can be used here ({reason})")
    cuda.require_device(name)
    stream = stack.enter_context(contextlib.closing(cuda.Stream()))  # makes a context current
    loaded = kernel_here(case.cfg.kernel_name(half))
    first, second = case.inputs(half)
    output = np.empty(case.output_shape, first.dtype)
    buffers = [
        stack.enter_context(contextlib.closing(cuda.DeviceBuffer(array.nbytes)))
        for array in (first, second, output)
    ]
    for buffer, array in zip(buffers, (first, second), strict=False):
        cuda.copy_to_device(buffer, array, stream)
    stream.synchronize()
    launch = case.cfg.launch(loaded.kernel, first.shape, second.shape, half)
    inputs, target = [buffer.pointer for buffer in buffers[:2]], buffers[2].pointer

    def queue() -> None:
        loaded.launch(launch.grid, inputs, launch.scalars, target, stream.handle)

    def result() -> Array:
        queue()
        cuda.copy_to_host(output, buffers[2], stream)
        stream.synchronize()
        return output

    clock = functools.partial(_events_ms, queue, stream.handle)
    return _implementation(case, half, "cuda", name, clock, result)


def _events_ms(queue: Callable[[], object], stream: int) -> float:
    """Milliseconds of one call that `queue` puts on a stream, of `LAUNCHES` between two events."""
    rt = cuda.load_cuda()
    events = start, end = [cuda.check(rt.cudaEventCreate()) for _ in range(2)]
    try:
        for _ in range(AHEAD):
            queue()
        cuda.check(rt.cudaEventRecord(start, stream))
        for _ in range(LAUNCHES):
            queue()
        cuda.check(rt.cudaEventRecord(end, stream))
        cuda.check(rt.cudaEventSynchronize(end))
        return float(cuda.check(rt.cudaEventElapsedTime(start, end))) / LAUNCHES
    finally:
        for event in events:
            cuda.check(rt.cudaEventDestroy(event))


def gpu_bandwidth() -> float:
    """Bytes per second, read plus written, of copies inside the GPU's memory; the quickest."""
    cuda.require_device("bandwidth")
    rt = cuda.load_cuda()
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(contextlib.closing(cuda.Stream()))
        source, target = (
            stack.enter_context(contextlib.closing(cuda.DeviceBuffer(COPIED_BYTES)))
            for _ in range(2)
        )
        kind = rt.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        copy = (target.pointer, source.pointer, COPIED_BYTES, kind, stream.handle)

        def queue() -> None:
            cuda.check(rt.cudaMemcpyAsync(*copy))

        quickest_ms = min(_events_ms(queue, stream.handle) for _ in range(COPIES))
    return 2 * COPIED_BYTES / (quickest_ms / 1e3)


def _implementation(
    case: Case,
    half: bool,
    device: str,
    name: str,
    time_ms: Callable[[], float],
    result: Callable[[], Array],
    tolerance: float | None = None,
) -> Implementation:
    return Implementation(
        name=name,
        device=device,
        precision=_precision(half).lower(),
        least_bytes=case.least_bytes(half),
        tolerance=tolerance or (FP16_TOLERANCE if half else FP32_TOLERANCE),
        time_ms=time_ms,
        result=result,
        baseline=name.startswith(BASELINE),
    )


def _precision(half: bool) -> str:
    return "FP16" if half else "FP32"


def cores() -> int:
    """CPU cores that this process may use, which ONNX Runtime is given."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
