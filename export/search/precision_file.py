"""The precision file: what each node group of one model computes in, with its certificate.

`maskrt search` and `maskrt bisect` write it, `maskrt export --mixture` reads it; ranges of INT8 and
FP8 are in it, so an export needs no pictures. It is JSON for people too: `groups` names module
paths and nodes. They belong to the weights they were measured on, so a file is refused for another
checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...runtime.errors import InputError, first_line
from ...runtime.files import require_file, sha256_of, write_text
from ...runtime.json_values import decoded, parse_json, schema_version
from ..precision.mixture import Mixture
from .certificate import Certificate

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class PrecisionFile:
    """The whole file, typed."""

    checkpoint_sha256: str
    """Of the checkpoint; of a graph that is not ours, of its ONNX file."""
    groups: dict[str, Literal["fp32", "fp16", "int8", "fp8"]]
    """By name; what is not named computes in `rest`."""
    rest: Literal["fp16", "fp32"] = "fp16"
    """FP16 where the policy allows it, or as it is."""
    ranges: dict[str, float] = field(default_factory=dict)
    """By tensor of the FP32 model, the largest |x| that INT8 and FP8 hold."""
    certificate: Certificate | None = None
    """None in a file that a person wrote."""
    schema_version: int = SCHEMA_VERSION

    @property
    def mixture(self) -> Mixture:
        """As `to_mixture` takes it."""
        return Mixture(self.groups, self.rest, self.ranges)

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
    advice = "Make it with maskrt search or maskrt bisect."
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


def mixture_for(path: Path, checkpoint: Path) -> Mixture:
    """What an export of `checkpoint` computes in.

    Raises:
        InputError: as `read_precision_file`; or the file was made for other weights.

    """
    content = read_precision_file(path)
    found = sha256_of(require_file(checkpoint, "a checkpoint", (".safetensors",)))
    if content.checkpoint_sha256 != found:
        model = content.certificate.model if content.certificate else "a checkpoint"
        raise InputError(
            f"{path}: made for {model} with SHA-256 {content.checkpoint_sha256!s:.12}; "
            f"{checkpoint} has {found:.12}, and groups hold for the weights they were measured on. "
            "Run maskrt search on this checkpoint."
        )
    return content.mixture
