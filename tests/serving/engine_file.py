"""A file with the sidecar of an engine, for what reads the sidecar alone."""

from __future__ import annotations

from pathlib import Path

from maskrt.runtime.contract import Contract
from maskrt.runtime.files import sha256_of
from maskrt.runtime.sidecar import Fingerprint, Sidecar, sidecar_path


def write_engine(
    path: Path,
    contract: Contract,
    runtime: str = "tensorrt",
    weights_sha256: dict[str, str] | None = None,
) -> Path:
    """Bytes that no TensorRT opens, and a sidecar that says what they would be."""
    path.write_bytes(b"a plan")
    fingerprint = Fingerprint(
        onnx_sha256="0" * 64,
        runtime=runtime,
        tensorrt_version="10.13.3",
        gpu_name="NVIDIA H100",
        compute_capability="9.0",
        options={},
        kernels_sha256={},
        engine_sha256=sha256_of(path),
        engine_bytes=path.stat().st_size,
        build_seconds=1.0,
        weights_sha256=weights_sha256 or {},
    )
    sidecar_path(path).write_text(Sidecar(contract, fingerprint).to_json())
    return path
