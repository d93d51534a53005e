"""ONNX Runtime's execution providers that maskrt uses, with their options and the reasons.

| name           | provider                         | runs                                         |
|----------------|----------------------------------|----------------------------------------------|
| `cpu`          | CPUExecutionProvider             | everything                                   |
| `cuda`         | CUDAExecutionProvider            | kernels of CUDA and cuDNN, one by one        |
| `tensorrt`     | TensorrtExecutionProvider        | sub-graphs as TensorRT engines, else CUDA    |
| `tensorrt-rtx` | NvTensorRTRTXExecutionProvider   | sub-graphs as TensorRT-RTX engines, else CPU |

Source: ONNX Runtime 1.22 to 1.31, execution-provider pages.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from ..contract import Precision, Rest

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT, TENSORRT_RTX = "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"

Options = dict[str, str]

CUDA_OPTIONS: Options = {
    # tries every cuDNN algorithm once per shape: ours are fixed, so it is paid in the first call
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "cudnn_conv_use_max_workspace": "1",
    # FP32 means FP32 in every row of a comparison
    "use_tf32": "0",
    # as much as is asked for, not the next power of two
    "arena_extend_strategy": "kSameAsRequested",
}

PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "cpu": (CPU,),
    "cuda": (CUDA, CPU),
    "tensorrt": (TENSORRT, CUDA, CPU),
    "tensorrt-rtx": (TENSORRT_RTX, CPU),
}
"""By our name: what is tried for each node, in this order."""
ROUNDING_FP32 = ("tensorrt", "tensorrt-rtx")
"""These let TensorRT multiply FP32 in TF32, 10 bits of mantissa, and have no option against it: as
of ONNX Runtime 1.31 only engines of `maskrt build` are FP32. Their rows say so."""


def provider_options(
    provider: str, precision: Precision, device_index: int, rest: Rest | None = None
) -> Options:
    """The options of one provider.

    Args:
        provider: ONNX Runtime's name.
        precision: of the file's contract.
        device_index: of the GPU; the CPU provider has none.
        rest: of the same contract.
    """
    if provider == CPU:
        return {}
    types = {precision, rest}
    return {"device_id": str(device_index), **_own_options(provider, types)}


def _own_options(provider: str, types: Collection[str | None]) -> Options:
    if provider == CUDA:
        return CUDA_OPTIONS
    if provider == TENSORRT:
        # Without the cache every process builds its engines anew, for minutes. Layers stay in the
        # precision that the file gives them.
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache_folder()),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache_folder()),
            "trt_fp16_enable": str(int("fp16" in types)),
            "trt_int8_enable": str(int("int8" in types)),
        }
    return {"nv_runtime_cache_path": str(cache_folder())}


def cache_folder() -> Path:
    """Where engines of the TensorRT providers stay between processes."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "maskrt", "onnxruntime")
