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
from .errors import ContractError, SessionError, first_line
from .json_values import decoded, parse_json


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
    weights_sha256: dict[str, str] = field(default_factory=dict)
    """Of an engine without its weights: its ONNX file and that file's external data, as paths from
    the engine's folder, to SHA-256. Empty where the engine holds its weights."""

    @property
    def version_compatible(self) -> bool:
        """Whether later versions of TensorRT, and lean ones, open the engine too."""
        return self.options.get("version_compatible") is True

    @property
    def hardware_compatible(self) -> str | None:
        """For which GPUs beside the one that built it: "ampere-plus", "same-capability", None."""
        level = self.options.get("hardware_compatible")
        return level if isinstance(level, str) else None


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
        command = self.build.get("command")
        return command if isinstance(command, str) and command else rebuild_command(engine_path)


@dataclass(frozen=True)
class _Parts:
    """The file's three parts as plain JSON; the contract's schema decides before the rest."""

    contract: dict[str, Any]
    fingerprint: dict[str, Any]
    build: dict[str, Any]


@dataclass(frozen=True)
class _Layers:
    """What every summary of layers in `build` counts."""

    layer_count: int
    fp16_layer_share: float
    macs: int
    fp16_mac_share: float
    unattributed_macs: int = 0


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
        raw = parse_json(path.read_bytes())
    except OSError as err:
        raise SessionError(
            f"{path}: {err.strerror or err}; an engine needs the sidecar that 'maskrt build' "
            f"writes beside it. {advice}"
        ) from err
    except ValueError as err:
        raise SessionError(
            f"{path}: not JSON ({first_line(err)}); expected a sidecar. {advice}"
        ) from err
    try:
        parts = decoded(_Parts, raw)
        contract = contract_from_json(json.dumps(parts.contract), str(path))
        fingerprint = decoded(Fingerprint, parts.fingerprint, "fingerprint")
        _check_layers(parts.build)
        return Sidecar(contract, _in_range(fingerprint), parts.build)
    except (ValueError, ContractError) as err:
        raise SessionError(
            f"{path}: not a sidecar this maskrt reads ({err}); expected its contract, fingerprint "
            f"and build. {advice}"
        ) from err


def _in_range(fingerprint: Fingerprint) -> Fingerprint:
    if min(fingerprint.engine_bytes, fingerprint.build_seconds) < 0:
        raise ValueError("fingerprint: engine_bytes or build_seconds is negative")
    weights = fingerprint.weights_sha256
    if weights and not any(name.endswith(".onnx") for name in weights):
        raise ValueError("fingerprint: weights_sha256 names no ONNX file")
    return fingerprint


def _check_layers(build: dict[str, Any]) -> None:
    """Summaries of layers, where they are not a line saying why there is none."""
    for name in ("network", "engine"):
        summary = build.get(name)
        if summary is not None and not isinstance(summary, str):
            names = [f.name for f in dataclasses.fields(_Layers)]
            given = decoded(dict[str, Any], summary, f"build.{name}").items()
            decoded(_Layers, {k: v for k, v in given if k in names}, f"build.{name}")
