"""A checkpoint as one verified ONNX file.

    checkpoint -> deploy form -> dynamo export -> rules, local functions -> precision -> contract
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

from ..runtime.contract import METADATA_KEY, Contract, Precision, Rest
from ..runtime.errors import ExportError, InputError
from ..runtime.files import atomic_path
from ..runtime.sessions.integers.plan import RANGES_KEY
from ..train.deploy.deployment import Deployment, Shapes, deploy
from ..train.shapes.scenes import draw_scene
from ..train.weights.checkpoint import load_checkpoint
from ..train.weights.settings import with_settings
from .ir_version import lowest_ir_version
from .precision.calibration import require_pictures
from .precision.eight_bits import EIGHT_BITS
from .precision.headroom import Headroom, measure_headroom
from .precision.mixture import Mixture, to_mixture
from .precision.uniform import Quantized, to_eight_bits
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
    quantized: Quantized | None = None
    """Of an int8 or fp8 file that no mixture decided, what became so."""
    headroom: Headroom | None = None
    """Of a file with FP16, how near its tensors come to the end of FP16 on the same pictures."""

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
    mixture: Mixture | None = None,
    rest: Rest = "fp16",
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
            fp16 converts what the policy of `precision/policy.py` allows, int8 and fp8 the layers
            that `precision/exemptions.py` does not leave out.
        shapes: canvas, batch, proposals and detections of the graph.
        mixture: what each node group computes in; None leaves that to the precision. With it
            there is one path, of the mixture's lowest precision.
        rest: what everything else in an int8 or fp8 file computes in.
        rules: names of the exact rules to apply, see `rules/`.
        calibration: picture files for int8 and fp8, which need them without a mixture.
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
    if mixture is None and not onnx_paths.keys().isdisjoint(EIGHT_BITS):
        require_pictures(calibration)
    checkpoint = with_settings(load_checkpoint(checkpoint_path), overrides)
    deployment = deploy(checkpoint, shapes)
    if pictures is None:
        pictures = drawn_pictures(deployment.contract.batch)
    model, outcomes = apply_rules(onnx_from_torch(deployment), rules)
    reports = []
    for precision, path in onnx_paths.items():
        if mixture is None and precision in EIGHT_BITS:
            converted, quantized = to_eight_bits(
                model, deployment.contract, precision, calibration, rest
            )
        else:
            converted, quantized = _mixed(model, precision, mixture), None
        rest = rest if mixture is None else mixture.rest
        contract = _contract(deployment.contract, precision, rest)
        verification, headroom = _write(converted, contract, deployment, path, pictures, weights)
        nodes = len(converted.graph.node)
        reports.append(
            ExportReport(path, contract, nodes, outcomes, verification, quantized, headroom)
        )
    return reports


def drawn_pictures(batch: int) -> list[npt.NDArray[np.uint8]]:
    """The drawn pictures that an export is verified on where nobody names others."""
    return [draw_scene(np.random.default_rng([7, i])).image for i in range(batch)]


def _mixed(
    model: onnx.ModelProto, precision: Precision, mixture: Mixture | None
) -> onnx.ModelProto:
    """The FP32 model as a mixture has it, or in FP16, or as it is."""
    if mixture is None and precision == "fp32":
        return model
    return to_mixture(model, mixture or Mixture())


def _contract(fp32: Contract, precision: Precision, rest: Rest) -> Contract:
    """The contract of the file."""
    return dataclasses.replace(
        fp32,
        precision=precision,
        rest=rest if precision in EIGHT_BITS else None,
        versions=fp32.versions | {"onnx": onnx.__version__},
    )


def _write(
    model: onnx.ModelProto,
    contract: Contract,
    deployment: Deployment,
    path: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    weights: SharedWeights | None,
) -> tuple[Verification, Headroom | None]:
    """Attach the contract, check, verify, and only then name the file."""
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key == RANGES_KEY}
    onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json(), **kept})
    model.ir_version = lowest_ir_version(model)
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        onnx.save(model if weights is None else weights.without_weights(model), temporary)
        headroom = measure_headroom(temporary, pictures) if contract.has_half else None
        try:
            found = verify(deployment, temporary, contract.precision, str(path), pictures)
        except ExportError as err:
            if headroom is None or not headroom.overflows:
                raise
            raise ExportError(f"{err} {headroom}.") from err
        return found, headroom
