"""The `.json` beside an engine: contract, fingerprint and build record.

An engine file is byte-pure TensorRT: it carries no names of ours. What a session must know, and
what proves that an engine belongs to a certain ONNX file, TensorRT and GPU, is in `X.engine.json`:

    {"contract": {...}, "fingerprint": {...}, "build": {...}}

`engines` writes it, sessions read it and refuse an engine that does not match it.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contract import Contract, contract_from_json
from .errors import ContractError, SessionError


@dataclass(frozen=True)
class Fingerprint:
    """What an engine was made from, with and for."""

    onnx_sha256: str
    runtime: str
    """`tensorrt` or `tensorrt-rtx`."""
    tensorrt_version: str
    gpu_name: str | None
    """The GPU it was built on; None when built on a machine without one (TensorRT-RTX)."""
    compute_capability: str | None
    """As "8.9"; None with `gpu_name`."""
    options: dict[str, Any]
    """Build options that change the engine's bytes."""
    kernels_sha256: dict[str, str]
    """Plugin kernels in the engine, name to SHA-256; empty without plugins."""
    engine_sha256: str
    engine_bytes: int
    build_seconds: float


@dataclass(frozen=True)
class Sidecar:
    """The whole file, typed."""

    contract: Contract
    fingerprint: Fingerprint
    build: dict[str, Any] = field(default_factory=dict)
    """`command` that makes the engine again, operators and why, the parsed network's layers."""

    def to_json(self) -> str:
        """Indented JSON with sorted keys, one newline at the end."""
        record = {
            "contract": json.loads(self.contract.to_json()),
            "fingerprint": dataclasses.asdict(self.fingerprint),
            "build": self.build,
        }
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    def rebuild_command(self, engine_path: Path) -> str:
        """The command line that makes this engine again."""
        return str(self.build.get("command") or rebuild_command(engine_path))


def sidecar_path(engine_path: Path) -> Path:
    """`X.engine` -> `X.engine.json`."""
    return engine_path.with_name(engine_path.name + ".json")


def rebuild_command(engine_path: Path) -> str:
    """The build command where the sidecar that would know the ONNX file cannot be read."""
    onnx = shlex.quote(engine_path.with_suffix(".onnx").name)
    return f"maskrt build {onnx} -o {shlex.quote(str(engine_path))}"


def read_sidecar(engine_path: Path) -> Sidecar:
    """Read `<engine>.json`.

    Raises:
        SessionError: it is missing, not JSON, or was not written by maskrt.
    """
    path = sidecar_path(engine_path)
    advice = f"Build the engine again: {rebuild_command(engine_path)}"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise SessionError(
            f"{path}: {err.strerror or err}; an engine needs the sidecar that 'maskrt build' "
            f"writes beside it. {advice}"
        ) from err
    except ValueError as err:
        raise SessionError(f"{path}: not JSON ({err}); expected a sidecar. {advice}") from err
    try:
        contract = contract_from_json(json.dumps(raw["contract"]), str(path))
        return Sidecar(contract, Fingerprint(**raw["fingerprint"]), dict(raw["build"]))
    except (KeyError, TypeError, ValueError, ContractError) as err:
        raise SessionError(
            f"{path}: not a sidecar this maskrt reads ({err}); expected its contract, fingerprint "
            f"and build. {advice}"
        ) from err
