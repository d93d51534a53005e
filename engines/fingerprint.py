"""What an engine was made from, with and for: taken when it is built, kept in its sidecar."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..runtime.files import sha256_of
from ..runtime.gpu.cuda import device_info
from ..runtime.sidecar import Fingerprint
from .flavours import Flavour


def take_fingerprint(
    onnx_path: Path,
    flavour: Flavour,
    engine: bytes,
    options: dict[str, Any],
    kernels_sha256: dict[str, str],
    build_seconds: float,
) -> Fingerprint:
    """The fingerprint of `engine`, built from `onnx_path` by `flavour` on this machine.

    `gpu_name` and `compute_capability` are None where no GPU was there to build on.
    """
    device = device_info()
    return Fingerprint(
        onnx_sha256=sha256_of(onnx_path),
        runtime=flavour.name,
        tensorrt_version=flavour.version_text,
        gpu_name=device.name if device else None,
        compute_capability=device.compute_capability if device else None,
        options=options,
        kernels_sha256=kernels_sha256,
        engine_sha256=hashlib.sha256(engine).hexdigest(),
        engine_bytes=len(engine),
        build_seconds=round(build_seconds, 3),
    )
