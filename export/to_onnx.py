"""A checkpoint as one verified ONNX file.

    checkpoint -> deploy form -> dynamo export -> rules, local functions -> [FP16|INT8] -> contract
               -> checker -> the same pictures through torch and ONNX Runtime -> the file appears

The file gets its name only when the last step agreed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ..runtime.contract import METADATA_KEY, Contract, Precision
from ..runtime.errors import ExportError, InputError
from ..runtime.files import atomic_path
from ..train.deploy.deployment import Deployment, Shapes, deploy
from ..train.shapes.scenes import draw_scene
from ..train.weights.checkpoint import load_checkpoint
from ..train.weights.settings import with_settings
from .ir_version import lowest_ir_version
from .precision.fp16 import to_fp16
from .precision.headroom import Headroom, measure_headroom
from .precision.int8 import Int8Report, require_pictures, to_int8
from .rules.exact_rules import DEFAULT_RULES, Outcome, apply_rules, require_rules
from .shared_weights import SharedWeights
from .torch_graph import onnx_from_torch
from .verify import Verification, verify


@dataclass(frozen=True)
class ExportReport:
    """What `export` wrote."""

    path: Path
    contract: Contract
    nodes: int
    rules: tuple[Outcome, ...]
    """What each exact rule did, or why it did nothing."""
    verification: Verification
    int8: Int8Report | None = None
    """Of an int8 file, what became INT8."""
    headroom: Headroom | None = None
    """Of an fp16 file, how near its tensors come to the end of FP16 on the same pictures."""

    @property
    def agreement(self) -> str:
        """What was compared, in words; nothing, where an untrained network finds nothing."""
        check, task = self.verification, self.contract.gives
        where = "1 picture" if check.pictures == 1 else f"{check.pictures} pictures"
        if check.asked == 0:
            untrained = self.contract.origin == "untrained"
            remedy = "train it, then export again" if untrained else "name yours with --pictures"
            return (
                f"neither ONNX Runtime nor torch finds {task} on {where}, so 0 of 0 were compared "
                f"and this says nothing of pictures on which it finds some: {remedy}"
            )
        return f"ONNX Runtime agrees with torch on {check.found} of {check.asked} {task} of {where}"


def export(
    checkpoint_path: Path,
    onnx_paths: dict[Precision, Path],
    *,
    shapes: Shapes = Shapes(),  # noqa: B008 (frozen value)
    keep_fp32: tuple[str, ...] = (),
    rules: tuple[str, ...] = DEFAULT_RULES,
    calibration: Sequence[Path] = (),
    pictures: Sequence[npt.NDArray[np.uint8]] | None = None,
    overrides: Sequence[str] = (),
    weights: SharedWeights | None = None,
) -> list[ExportReport]:
    """Export a checkpoint once and write it in one or more precisions.

    Args:
        checkpoint_path: `.safetensors` with its `.yaml`.
        onnx_paths: where each precision goes; an existing file is replaced only by a verified one.
            fp16 converts what the policy of `precision/policy.py` allows, int8 the layers that
            `precision/int8.py` takes.
        shapes: canvas, batch, proposals and detections of the graph.
        keep_fp32: names of node groups that stay FP32 although the policy allows FP16.
        rules: names of the exact rules to apply, see `rules/`.
        calibration: picture files for int8, which needs them.
        pictures: (H, W, 3) uint8 RGB to verify on and to measure FP16 headroom on, any number;
            None draws one for each canvas of the batch.
        overrides: what may change without the weights, see `train/weights/settings.py`.
        weights: where large weights go, in the files' own folder; None leaves them in the files.

    Raises:
        InputError, ConfigError: the checkpoint, the shapes or the pictures are not usable, or no
            rule has one of the names.
        ExportError: torch cannot export it, or ONNX Runtime does not agree with torch.
    """
    require_rules(rules)
    for path in onnx_paths.values():
        if path.suffix != ".onnx":
            raise InputError(f"{path}: an export ends in .onnx; found '{path.suffix}'. Rename it.")
    if "int8" in onnx_paths:
        require_pictures(calibration)
    checkpoint = with_settings(load_checkpoint(checkpoint_path), overrides)
    deployment = deploy(checkpoint, shapes)
    if pictures is None:
        pictures = drawn_pictures(deployment.contract.batch)
    model, outcomes = apply_rules(onnx_from_torch(deployment), rules)
    reports = []
    for precision, path in onnx_paths.items():
        converted, int8 = _converted(model, deployment.contract, precision, keep_fp32, calibration)
        contract = _contract(deployment.contract, precision, int8)
        verification, headroom = _write(converted, contract, deployment, path, pictures, weights)
        nodes = len(converted.graph.node)
        reports.append(ExportReport(path, contract, nodes, outcomes, verification, int8, headroom))
    return reports


def drawn_pictures(batch: int) -> list[npt.NDArray[np.uint8]]:
    """The drawn pictures that an export is verified on where nobody names others."""
    return [draw_scene(np.random.default_rng([7, i])).image for i in range(batch)]


def _converted(
    model: onnx.ModelProto,
    contract: Contract,
    precision: Precision,
    keep_fp32: tuple[str, ...],
    calibration: Sequence[Path],
) -> tuple[onnx.ModelProto, Int8Report | None]:
    """The FP32 model in a precision."""
    if precision == "fp16":
        return to_fp16(model, keep_fp32), None
    if precision == "int8":
        return to_int8(model, contract, calibration)
    return model, None


def _contract(fp32: Contract, precision: Precision, int8: Int8Report | None) -> Contract:
    """The contract of the file, with the versions of what converted it."""
    versions = fp32.versions | {"onnx": onnx.__version__}
    if int8 is not None:
        versions["onnxruntime"] = int8.onnxruntime_version
    return dataclasses.replace(fp32, precision=precision, versions=versions)


def _write(
    model: onnx.ModelProto,
    contract: Contract,
    deployment: Deployment,
    path: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    weights: SharedWeights | None,
) -> tuple[Verification, Headroom | None]:
    """Attach the contract, check, verify, and only then name the file."""
    onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    model.ir_version = lowest_ir_version(model)
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        onnx.save(model if weights is None else weights.without_weights(model), temporary)
        headroom = measure_headroom(temporary, pictures) if contract.precision == "fp16" else None
        try:
            found = verify(deployment, temporary, contract.precision, str(path), pictures)
        except ExportError as err:
            if headroom is None or not headroom.overflows:
                raise
            raise ExportError(f"{err} {headroom}.") from err
        return found, headroom
