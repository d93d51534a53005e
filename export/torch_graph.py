"""The FP32 graph of a deploy form, as torch's dynamo exporter writes it.

Our operators become single nodes of domain `maskrt`, without a body yet. Node metadata keeps the
module path (`namespace`), which the precision policy and layer reports read; stack traces of the
exporting machine are taken out.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import onnx
import torch
from onnx.defs import OpSchema

from ..runtime.errors import ExportError
from ..train.deploy.deployment import Deployment
from ..train.networks import roi_align, windows  # noqa: F401  (their operators)
from ..train.networks.pyramid import roi_align as pyramid_roi_align  # noqa: F401
from .operators.domain import DOMAIN, DOMAIN_VERSION
from .operators.pyramid_roi_align import PYRAMID_ROI_ALIGN
from .operators.roi_align import ROI_ALIGN
from .operators.window_align import WINDOW_ALIGN
from .typed_graph import MODULE_PATH_KEY

OPSET = 18
"""The dynamo exporter's lowest; every supported TensorRT parses it."""


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
                    torch.ops.maskrt.pyramid_roi_align.default: _pyramid_roi_align_node,
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
        kept = [(p.key, p.value) for p in node.metadata_props if p.key == MODULE_PATH_KEY]
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


def _operator(name: str, inputs: dict[str, str], attributes: dict[str, OpSchema.AttrType]) -> Any:
    """An operator of our domain by its signature, which is all that the exporter needs of it."""
    from onnxscript.values import Op, Opset

    schema = OpSchema(
        name,
        DOMAIN,
        DOMAIN_VERSION,
        inputs=[OpSchema.FormalParameter(key, kind) for key, kind in inputs.items()],
        outputs=[OpSchema.FormalParameter("Y", "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "")],
        attributes=[OpSchema.Attribute(n, k, "", required=True) for n, k in attributes.items()],
    )
    return Op(Opset(DOMAIN, DOMAIN_VERSION), name, schema)


def _roi_align_node(
    features: Any, rois: Any, output_size: int, spatial_scale: float, sampling_ratio: int
) -> Any:
    """Translate torch.ops.maskrt.roi_align to one `MaskrtRoiAlign` node."""
    kinds = OpSchema.AttrType
    attributes = {
        "output_size": kinds.INT,
        "spatial_scale": kinds.FLOAT,
        "sampling_ratio": kinds.INT,
    }
    return _operator(ROI_ALIGN, {"X": "T", "rois": "tensor(float)"}, attributes)(
        features,
        rois,
        output_size=output_size,
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
    )


def _pyramid_roi_align_node(
    atlas: Any,
    rois: Any,
    spatial_shapes: list[int],
    strides: list[int],
    output_size: int,
    sampling_ratio: int,
    borders: list[float],
    aligned: bool,
) -> Any:
    """Translate torch.ops.maskrt.pyramid_roi_align to one `MaskrtPyramidRoiAlign` node."""
    kinds = OpSchema.AttrType
    attributes = dict.fromkeys(("spatial_shapes", "strides"), kinds.INTS)
    attributes |= dict.fromkeys(("output_size", "sampling_ratio", "aligned"), kinds.INT)
    attributes["borders"] = kinds.FLOATS
    return _operator(PYRAMID_ROI_ALIGN, {"X": "T", "rois": "tensor(float)"}, attributes)(
        atlas,
        rois,
        spatial_shapes=spatial_shapes,
        strides=strides,
        output_size=output_size,
        sampling_ratio=sampling_ratio,
        borders=borders,
        aligned=int(aligned),
    )


def _window_align_node(pyramid: Any, index: Any, spatial_shapes: list[int], size: int) -> Any:
    """Translate torch.ops.maskrt.window_align to one `MaskrtWindowAlign` node."""
    attributes = {"spatial_shapes": OpSchema.AttrType.INTS, "size": OpSchema.AttrType.INT}
    return _operator(WINDOW_ALIGN, {"X": "T", "index": "tensor(int64)"}, attributes)(
        pyramid, index, spatial_shapes=spatial_shapes, size=size
    )
