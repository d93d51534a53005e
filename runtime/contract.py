"""The contract: everything a runtime may believe about an artefact, as one frozen value.

Export writes it into the ONNX file's `metadata_props` under `METADATA_KEY`; build copies it into
the `.json` beside the engine. Sessions, pre- and post-processing read nothing else: what the
contract does not say is not assumed. It is plain JSON with a schema version, so that a newer file
fails with a clear sentence instead of being misread.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import ContractError, InputError, first_line
from .json_values import decoded, parse_json, schema_version

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, SCHEMA_VERSION)
"""1 has no `mask_threshold` and no `mask_upsampling`."""
SCHEMA_1_PROPOSALS = {"mask_threshold": 0.2, "mask_upsampling": 4}
"""What schema 1 meant where its task was proposals: all of them were FastMask's."""
METADATA_KEY = "maskrt.contract"
MOST_PX = 2**20
"""No side, batch or tensor dimension of an artefact comes near it."""
DTYPES = {"bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"}
"""numpy's names of what a graph may take or give."""

Task = Literal["instances", "detection", "proposals"]
"""Boxes with masks and classes; boxes with classes alone; boxes with masks alone."""
Precision = Literal["fp32", "fp16", "int8", "fp8"]
"""Of the layers in the fewest bits."""
Rest = Literal["fp16", "fp32"]

Outputs = dict[str, npt.NDArray[np.generic]]
"""What one run gives: the contract's outputs by name."""


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output: `name`, static `shape`, numpy `dtype` name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class ResizeRule:
    """How a picture is scaled before it is placed on the canvas (aspect ratio kept)."""

    short_side_px: int
    """The shorter side is scaled to this; 0 means that only the longer side decides."""
    long_side_px: int
    """The longer side never exceeds this."""
    multiple_px: int = 1
    """Scaled sides are floored to a multiple of this (FastMask uses 4); 1 rounds to nearest."""


@dataclass(frozen=True)
class Contract:
    """What an artefact takes and gives. See the module docstring."""

    model: str
    """Network family: `mask_rcnn`, `mask_rcnn_fpn` or `fastmask`."""
    variant: str
    """Recipe the checkpoint was made from, e.g. `lsc_mask_rcnn_tiny`."""
    task: Task
    class_names: tuple[str, ...]
    """Names of labels 0..C-1; ("object",) for class-agnostic proposals."""
    canvas_hw: tuple[int, int]
    """Height and width in pixels of the uint8 RGB canvas the graph takes."""
    batch: int
    resize: ResizeRule
    channel_order: str
    """Documentation only: the order the weights were trained in; the graph itself takes RGB."""
    mean: tuple[float, ...]
    """Documentation only: per channel, 0..255 scale; normalization is inside the graph."""
    std: tuple[float, ...]
    """Documentation only, as `mean`."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: Precision
    operators: tuple[str, ...]
    """Custom operators (domain `maskrt`) the graph calls, empty when none."""
    checkpoint_sha256: str
    mask_threshold: float = 0.5
    """Mask probabilities at or above it are foreground, in (0, 1]."""
    mask_upsampling: int = 1
    """Masks are made this many times finer, as logits, before they are pasted; 1 or more."""
    measured: dict[str, float] = field(default_factory=dict)
    """Accuracy measured on the checkpoint, e.g. {"box_ap": 51.2}; empty when never measured."""
    origin: str = ""
    """How the weights came about, e.g. "imported from model_final.pkl (Detectron2 Mask R-CNN C4)";
    empty in files older than the field."""
    rest: Rest | None = None
    """What an int8 or fp8 artefact computes in beside; None of others."""
    category_ids: tuple[int, ...] = ()
    """Id of each label in the data set that the network was trained on; empty numbers them from 1,
    and in files older than the field."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of what wrote the artefact (maskrt, torch, onnx, ...)."""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The contract as one JSON object with sorted keys."""
        fields = dataclasses.asdict(self)
        if not self.category_ids:  # so that files without any are what they were
            del fields["category_ids"]
        if self.rest is None:
            del fields["rest"]
        return json.dumps(fields, sort_keys=True)

    @property
    def has_half(self) -> bool:
        """Whether FP16 is in it."""
        return "fp16" in (self.precision, self.rest)

    @property
    def is_emulated_on_cpu(self) -> bool:
        """Whether ONNX Runtime's CPU provider lacks kernels of its types.

        What it computes there is FP32 in part, so accuracy is that of a copy which rounds as the
        file says (`export/precision/emulation.py`).
        """
        return self.has_half or self.precision == "fp8"

    @property
    def gives(self) -> str:
        """What it finds, in the plural."""
        return "detections" if self.task == "detection" else self.task

    def output(self, name: str) -> TensorSpec:
        """The spec of output `name`; ContractError when the artefact has no such output."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        names = ", ".join(s.name for s in self.outputs)
        raise ContractError(f"{self.variant}: no output '{name}'; the artefact has {names}.")


def contract_from_metadata(metadata: Mapping[str, str], where: str) -> Contract:
    """The contract in the metadata of an ONNX file; `where` names the file in errors.

    Args:
        metadata: the file's `metadata_props` by key.
        where: the file, for errors.

    Raises:
        InputError: there is none: something else than maskrt wrote the file.
        ContractError: as `contract_from_json`.
    """
    if METADATA_KEY not in metadata:
        raise InputError(
            f"{where}: an ONNX file without a maskrt contract; expected one exported by maskrt. "
            "Run maskrt export on a checkpoint."
        )
    return contract_from_json(metadata[METADATA_KEY], where)


def contract_from_json(text: str, where: str) -> Contract:
    """Read a contract; `where` names the file in errors.

    Raises:
        ContractError: not JSON, another schema version, fields missing or unknown, or a value of
            another type or out of its range.
    """
    try:
        raw = parse_json(text)
        version = schema_version(raw)
    except ValueError as err:
        raise ContractError(
            f"{where}: the maskrt contract in it is unreadable ({first_line(err)}); expected one "
            "JSON object. Export or build the artefact again."
        ) from err
    if version not in READABLE_VERSIONS:
        raise ContractError(
            f"{where}: contract schema {version}; this maskrt reads schema {SCHEMA_VERSION}. "
            "Export or build the artefact again with this version."
        )
    try:
        contract = decoded(Contract, _as_of_now(raw))
        _check_ranges(contract)
    except ValueError as err:
        raise ContractError(
            f"{where}: the maskrt contract has wrong fields ({err}). Export or build it again."
        ) from err
    return contract


def _as_of_now(raw: dict[str, Any]) -> dict[str, Any]:
    """With what an older schema meant where it said nothing."""
    old = raw["schema_version"] == 1 and raw.get("task") == "proposals"
    return {**raw, **(SCHEMA_1_PROPOSALS if old else {}), "schema_version": SCHEMA_VERSION}


def _check_ranges(contract: Contract) -> None:
    """Each value is one that an artefact of maskrt can have.

    Raises:
        ValueError: one is not; the text names it, its value and its range.
    """
    sizes = {
        "batch": (contract.batch,),
        "canvas_hw": contract.canvas_hw,
        "resize.long_side_px": (contract.resize.long_side_px,),
        "resize.multiple_px": (contract.resize.multiple_px,),
        "mask_upsampling": (contract.mask_upsampling,),
        **{f"shape of '{s.name}'": s.shape for s in (*contract.inputs, *contract.outputs)},
    }
    for name, values in sizes.items():
        if not all(1 <= value <= MOST_PX for value in values):
            raise ValueError(f"{name} is {[*values]}; expected 1 to {MOST_PX}")
    if not 0 <= contract.resize.short_side_px <= MOST_PX:
        found = contract.resize.short_side_px
        raise ValueError(f"resize.short_side_px is {found}; expected 0 to {MOST_PX}")
    if not 0 < contract.mask_threshold <= 1:
        raise ValueError(f"mask_threshold is {contract.mask_threshold}; expected above 0, up to 1")
    odd = {s.dtype for s in (*contract.inputs, *contract.outputs)} - DTYPES
    if odd:
        raise ValueError(f"dtype {min(odd)!r}; expected {', '.join(sorted(DTYPES))}")
    if not contract.class_names:
        raise ValueError("class_names is empty; expected at least one")
    if contract.category_ids and len(contract.category_ids) != len(contract.class_names):
        given = f"{len(contract.category_ids)} of {len(contract.class_names)} classes"
        raise ValueError(f"category_ids are {given}; expected one of each, or none")
