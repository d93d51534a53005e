"""A checkpoint as one verified ONNX file.

    checkpoint -> deploy form -> dynamo export -> rules, local functions -> [FP16|INT8] -> contract
               -> checker -> the same picture through torch and ONNX Runtime -> the file appears

The file gets its name only when the last step agreed. Node metadata keeps the module path
(`namespace`), which precision rules and layer reports read; stack traces of the exporting machine
are taken out.
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx.defs import OpSchema

from ..runtime.contract import METADATA_KEY, Contract, Precision
from ..runtime.errors import ExportError, InputError
from ..runtime.files import atomic_path
from ..train.deploy.deployment import Deployment, Shapes, deploy
from ..train.weights.checkpoint import load_checkpoint
from .operators.domain import DOMAIN
from .operators.roi_align import ROI_ALIGN
from .operators.window_align import WINDOW_ALIGN
from .precision.fp16 import to_fp16
from .precision.int8 import Int8Report, to_int8
from .rules.exact_rules import DEFAULT_RULES, Outcome, apply_rules, require_rules
from .verify import Verification, verify

OPSET = 18
"""The dynamo exporter's lowest; every supported TensorRT parses it."""
KEPT_METADATA = "namespace"


@dataclass(frozen=True)
class ExportReport:
    """What `export` wrote."""

    path: Path
    contract: Contract
    nodes: int
    rules: tuple[Outcome, ...]
    """What each rule of `rules.py` did, or why it did nothing."""
    verification: Verification
    int8: Int8Report | None = None
    """Of an int8 file, what became INT8."""


def export(
    checkpoint_path: Path,
    onnx_paths: dict[Precision, Path],
    *,
    shapes: Shapes = Shapes(),  # noqa: B008 (frozen value)
    keep_fp32: tuple[str, ...] = (),
    rules: tuple[str, ...] = DEFAULT_RULES,
    calibration: Sequence[Path] = (),
) -> list[ExportReport]:
    """Export a checkpoint once and write it in one or more precisions.

    Args:
        checkpoint_path: `.safetensors` with its `.yaml`.
        onnx_paths: where each precision goes; an existing file is replaced only by a verified one.
            fp16 converts what the policy of `precision.py` allows, int8 that of `int8.py`.
        shapes: canvas, batch, proposals and detections of the graph.
        keep_fp32: names of node groups that stay FP32 although the policy allows FP16.
        rules: names of the exact rewrites to apply, see `rules.py`.
        calibration: picture files for int8, which needs them.

    Raises:
        InputError, ConfigError: the checkpoint, the shapes or the pictures are not usable, or no
            rule has one of the names.
        ExportError: torch cannot export it, or ONNX Runtime does not agree with torch.
    """
    require_rules(rules)
    for path in onnx_paths.values():
        if path.suffix != ".onnx":
            raise InputError(f"{path}: an export ends in .onnx; found '{path.suffix}'. Rename it.")
    deployment = deploy(load_checkpoint(checkpoint_path), shapes)
    model, outcomes = apply_rules(onnx_from_torch(deployment), rules)
    return [
        _write(model, deployment, precision, path, keep_fp32, outcomes, calibration)
        for precision, path in onnx_paths.items()
    ]


def _write(
    model: onnx.ModelProto,
    deployment: Deployment,
    precision: Precision,
    path: Path,
    keep_fp32: tuple[str, ...],
    outcomes: tuple[Outcome, ...],
    calibration: Sequence[Path],
) -> ExportReport:
    """Convert, attach the contract, check, verify, and only then name the file."""
    int8 = None
    versions = {"onnx": onnx.__version__}
    if precision == "fp16":
        model = to_fp16(model, keep_fp32)
    if precision == "int8":
        model, int8 = to_int8(model, deployment.contract, calibration)
        versions["onnxruntime"] = int8.onnxruntime_version
    contract = dataclasses.replace(
        deployment.contract,
        precision=precision,
        versions=deployment.contract.versions | versions,
    )
    onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        onnx.save(model, temporary)
        verification = verify(deployment, temporary, precision, str(path))
    return ExportReport(path, contract, len(model.graph.node), outcomes, verification, int8)


def onnx_from_torch(deployment: Deployment) -> onnx.ModelProto:
    """The FP32 graph of a deploy form, custom operators as bare nodes.

    Raises:
        ExportError: torch's exporter refused the network.
    """
    contract = deployment.contract
    images, sizes = (spec.shape for spec in contract.inputs)
    example = (torch.zeros(images, dtype=torch.uint8), torch.ones(sizes, dtype=torch.int32))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names operators it lacks, unasked
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch's own exporter
            program = torch.onnx.export(
                deployment.module,
                example,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
                input_names=[spec.name for spec in contract.inputs],
                output_names=[spec.name for spec in contract.outputs],
                custom_translation_table={
                    torch.ops.maskrt.roi_align.default: _roi_align_node,
                    torch.ops.maskrt.window_align.default: _window_align_node,
                },
            )
    except torch.onnx.OnnxExporterError as err:
        raise ExportError(
            f"{contract.variant}: torch's ONNX exporter refused the network "
            f"({str(err).strip().splitlines()[-1]}). Report it with this recipe."
        ) from err
    assert program is not None, "dynamo export always returns a program"
    model = program.model_proto
    _clean(model)
    return model


def _clean(model: onnx.ModelProto) -> None:
    """Keep each node's module path, drop the exporter's other notes (they hold local paths)."""
    for node in model.graph.node:
        kept = [(p.key, p.value) for p in node.metadata_props if p.key == KEPT_METADATA]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.producer_name, model.producer_version = "maskrt", ""


def _schema(
    name: str, inputs: dict[str, str], attributes: dict[str, OpSchema.AttrType]
) -> OpSchema:
    """An operator's signature, which is all the exporter needs to write a node."""
    return OpSchema(
        name,
        DOMAIN,
        1,
        inputs=[OpSchema.FormalParameter(key, kind) for key, kind in inputs.items()],
        outputs=[OpSchema.FormalParameter("Y", "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "")],
        attributes=[OpSchema.Attribute(n, k, "", required=True) for n, k in attributes.items()],
    )


def _roi_align_node(
    features: Any, rois: Any, output_size: int, spatial_scale: float, sampling_ratio: int
) -> Any:
    """Translate torch.ops.maskrt.roi_align to one `MaskrtRoiAlign` node."""
    from onnxscript.values import Op, Opset

    kinds = OpSchema.AttrType
    attributes = {
        "output_size": kinds.INT,
        "spatial_scale": kinds.FLOAT,
        "sampling_ratio": kinds.INT,
    }
    schema = _schema(ROI_ALIGN, {"X": "T", "rois": "tensor(float)"}, attributes)
    return Op(Opset(DOMAIN, 1), ROI_ALIGN, schema)(
        features,
        rois,
        output_size=output_size,
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
    )


def _window_align_node(pyramid: Any, index: Any, spatial_shapes: list[int], size: int) -> Any:
    """Translate torch.ops.maskrt.window_align to one `MaskrtWindowAlign` node."""
    from onnxscript.values import Op, Opset

    kinds = OpSchema.AttrType
    attributes = {"spatial_shapes": kinds.INTS, "size": kinds.INT}
    schema = _schema(WINDOW_ALIGN, {"X": "T", "index": "tensor(int64)"}, attributes)
    return Op(Opset(DOMAIN, 1), WINDOW_ALIGN, schema)(
        pyramid, index, spatial_shapes=spatial_shapes, size=size
    )
