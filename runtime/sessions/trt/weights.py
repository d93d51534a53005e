"""The weights of an engine that was built without them, from its ONNX file.

    X.engine: kernels, no weights  +  model.onnx  --OnnxParserRefitter-->  ready to run

The sidecar names the files that hold them, relative to the engine's folder, with the SHA-256 of
each. They are looked for there and then beside the engine, and must be those very files: such an
engine takes back the weights it was built with and no others.
Source: TensorRT 10 and 11 Python API, `Refitter`, `OnnxParserRefitter`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import SessionError, pip_line
from ...files import sha256_of
from ...sidecar import Sidecar
from ..inlined import inlined_model
from .tensorrt_module import tensorrt_logger


def restore_weights(path: Path, sidecar: Sidecar, trt: Any, engine: Any) -> None:
    """Give a deserialized engine its weights; nothing is done where it holds them.

    Args:
        path: the engine's file.
        sidecar: its sidecar.
        trt: the TensorRT module that opened it.
        engine: what it opened.

    Raises:
        SessionError: the ONNX file or its weights are missing or others, the onnx package or
            TensorRT's ONNX parser is missing here, or TensorRT refuses the weights.
    """
    wanted = sidecar.fingerprint.weights_sha256
    if not wanted:
        return
    files = [_found(path, name, digest) for name, digest in wanted.items()]
    if not hasattr(trt, "OnnxParserRefitter"):
        raise SessionError(
            f"{path}: built without its weights, and the TensorRT that is installed has no ONNX "
            f"parser to read them with. {pip_line('gpu')}, or build the engine without "
            "'--strip-weights'."
        )
    onnx_path = next(file for file in files if file.suffix == ".onnx")
    logger = tensorrt_logger(trt)
    logger.clear()
    if not _given(trt, engine, inlined_model(onnx_path, "gpu").SerializeToString()):
        raise SessionError(
            f"{path}: TensorRT did not take the weights of {onnx_path} ({logger.recent_errors()}). "
            f"Build it again: {sidecar.rebuild_command(path)}"
        )


def _given(trt: Any, engine: Any, model: bytes) -> bool:
    """Whether an engine took its weights from `model`, which is as the parser got it."""
    logger = tensorrt_logger(trt)
    try:
        refitter = trt.Refitter(engine, logger)
    except TypeError:  # the binding's word for an engine that takes none
        return False
    parser = trt.OnnxParserRefitter(refitter, logger)  # keeps the weights until they are taken
    return bool(parser.refit_from_bytes(model) and refitter.refit_cuda_engine())


def _found(engine_path: Path, name: str, digest: str) -> Path:
    folder = engine_path.parent
    candidates = [folder / name, folder / Path(name).name]
    there = next((file for file in candidates if file.is_file()), None)
    if there is None:
        raise SessionError(
            f"{engine_path}: built without its weights, and {Path(name).name}, which holds them, "
            f"is neither at {folder / name} nor beside it. Copy it beside the engine."
        )
    if (found := sha256_of(there)) != digest:
        raise SessionError(
            f"{there}: SHA-256 {found[:12]} is not the file with the weights of {engine_path} "
            f"({digest[:12]}). Put that one in its place, or build the engine again."
        )
    return there
