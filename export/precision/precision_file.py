"""The precision file: which node groups of one checkpoint stay FP32, and the figures behind it.

`maskrt bisect` writes it, `maskrt export --keep-fp32` reads it. It is JSON for people too: `groups`
is a plain list of module paths and node names, everything else says where the list comes from.
Groups belong to the weights they were measured on, so a file is refused for another checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError, first_line
from ...runtime.files import require_file, sha256_of, write_text
from ...runtime.json_values import decoded, parse_json, schema_version

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class PrecisionFile:
    """The whole file, typed."""

    checkpoint_sha256: str
    groups: tuple[str, ...]
    """What `precision.to_fp16` takes as `keep_fp32`; empty where FP16 passed as it is."""
    model: str = ""
    """Recipe of the checkpoint, e.g. `lsc_mask_rcnn_tiny`."""
    metric: str = ""
    gate: float | None = None
    """What the metric had to reach (instances) or could not exceed (ap)."""
    pictures: dict[str, Any] = field(default_factory=dict)
    """What was measured on: name of the `data` folder, `split`, `count`."""
    before: dict[str, Any] = field(default_factory=dict)
    """Verdict on FP16 as the policy has it."""
    after: dict[str, Any] = field(default_factory=dict)
    """Verdict with `groups` in FP32."""
    fp16_mac_share: float | None = None
    """Part of the layers' multiply-accumulates that stays FP16, 0..1."""
    costs: dict[str, Any] = field(default_factory=dict)
    """By group: verdicts with it alone put back, alone in FP16, and alone in FP32."""
    evaluations: int = 0
    """Candidates that were run on the pictures."""
    versions: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON, one newline at the end."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def write_precision_file(path: Path, content: PrecisionFile) -> None:
    """Write it atomically; InputError when the disk refuses."""
    write_text(path, content.to_json())


def read_precision_file(path: Path) -> PrecisionFile:
    """Read and check a precision file.

    Raises:
        InputError: missing, no JSON, of another schema or with other fields.

    """
    require_file(path, "a precision file", (".json",))
    advice = "Make it with maskrt bisect."
    try:
        raw = parse_json(path.read_bytes())
        version = schema_version(raw)
    except (OSError, ValueError) as err:
        raise InputError(f"{path}: no precision file ({first_line(err)}). {advice}") from err
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema {version} found; this maskrt reads {SCHEMA_VERSION}. {advice}"
        )
    try:
        content = decoded(PrecisionFile, raw)
    except ValueError as err:
        raise InputError(
            f"{path}: its fields are not those of a precision file ({err}). {advice}"
        ) from err
    if not all(content.groups):
        raise InputError(f"{path}: 'groups' holds an empty name; expected node groups. {advice}")
    return content


def groups_for(path: Path, checkpoint: Path) -> tuple[str, ...]:
    """The groups that stay FP32 in an export of `checkpoint`.

    Raises:
        InputError: as `read_precision_file`; or the file was made for other weights.

    """
    content = read_precision_file(path)
    found = sha256_of(require_file(checkpoint, "a checkpoint", (".safetensors",)))
    if content.checkpoint_sha256 != found:
        raise InputError(
            f"{path}: made for {content.model or 'a checkpoint'} with SHA-256 "
            f"{content.checkpoint_sha256!s:.12}; {checkpoint} has {found:.12}, and groups hold for "
            "the weights they were measured on. Run maskrt bisect on this checkpoint."
        )
    return content.groups
