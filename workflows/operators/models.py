"""Operators as ONNX models of one call: what export writes, what it could, ONNX Runtime's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...engines.plugins.operator_config import (
    OperatorCfg,
    PyramidRoiAlignCfg,
    RoiAlignCfg,
    WindowAlignCfg,
)
from .cases import Case

if TYPE_CHECKING:
    import onnx

BASELINE = "ONNX Runtime RoiAlign"


def operator_models(case: Case, half: bool) -> dict[str, onnx.ModelProto]:
    """Models of one call by name: what export writes, what it could, ONNX Runtime's own."""
    from ...export.operators.grid_sample_body import grid_sample_function
    from ...export.operators.local_functions import add_functions

    node = _single_node(case, half)
    if isinstance(case.cfg, WindowAlignCfg):
        return {"ONNX gather body": add_functions(node)}
    if isinstance(case.cfg, PyramidRoiAlignCfg):
        return {"ONNX atlas body": add_functions(node)}
    matmul = add_functions(node)
    node.functions.append(grid_sample_function())
    models = {"ONNX matmul body": matmul, "ONNX GridSample body": add_functions(node)}
    # in FP16 it wants FP16 boxes, which are whole pixels on a large canvas
    return models if half else {**models, BASELINE: _native(case, case.cfg)}


def _single_node(case: Case, half: bool) -> onnx.ModelProto:
    """One call of the operator as the exporter makes it, its function still missing."""
    from onnx import TensorProto, helper

    from ...export.operators.domain import DOMAIN, MIN_IR_VERSION, MIN_OPSET

    node = helper.make_node(
        case.operator, ["X", "second"], ["Y"], domain=DOMAIN, **_attributes(case.cfg)
    )
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    second = TensorProto.INT64 if isinstance(case.cfg, WindowAlignCfg) else TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info("X", dtype, case.first.shape),
        helper.make_tensor_value_info("second", second, case.second.shape),
    ]
    outputs = [helper.make_tensor_value_info("Y", dtype, case.output_shape)]
    graph = helper.make_graph([node], case.operator, inputs, outputs)
    opset = helper.make_opsetid("", MIN_OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=MIN_IR_VERSION)


def _attributes(cfg: OperatorCfg) -> dict[str, Any]:
    if isinstance(cfg, WindowAlignCfg):
        shapes = [side for level in cfg.levels for side in level]
        return {"size": cfg.size, "spatial_shapes": shapes}
    if isinstance(cfg, PyramidRoiAlignCfg):
        return {
            "output_size": cfg.output_size,
            "sampling_ratio": cfg.sampling_ratio,
            "aligned": int(cfg.aligned),
            "spatial_shapes": [side for level in cfg.levels for side in level],
            "strides": cfg.strides_px,
            "borders": cfg.borders_px2,
        }
    return {
        "output_size": cfg.output_size,
        "spatial_scale": 1 / cfg.stride_px,
        "sampling_ratio": cfg.sampling_ratio,
        "bin_step": cfg.bin_step,
    }


def _native(case: Case, cfg: RoiAlignCfg) -> onnx.ModelProto:
    """ONNX RoiAlign-16, which makes all bins; a Slice takes every `bin_step`-th."""
    from onnx import parser

    batch, boxes = case.second.shape[:2]
    map_shape, output_shape = (
        ", ".join(map(str, shape)) for shape in (case.first.shape, case.output_shape)
    )
    images = ", ".join(str(image) for image in range(batch) for _ in range(boxes))
    bins, step = cfg.output_size, cfg.bin_step
    made = "Y" if step == 1 else "bins"  # an Identity might cost a copy
    every = "" if step == 1 else "Y = Slice (bins, starts, ends, axes, steps)"
    return parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[{map_shape}] X, float[{batch}, {boxes}, 4] second) => (float[{output_shape}] Y)
        <int64[{batch * boxes}] image = {{{images}}}, int64[2] rows = {{-1, 4}},
         int64[2] starts = {{0, 0}}, int64[2] ends = {{{bins}, {bins}}},
         int64[2] axes = {{2, 3}}, int64[2] steps = {{{step}, {step}}}>
        {{
            rois = Reshape (second, rows)
            {made} = RoiAlign <coordinate_transformation_mode = "half_pixel", mode = "avg",
                output_height = {bins}, output_width = {bins},
                sampling_ratio = {cfg.sampling_ratio}, spatial_scale = {1 / cfg.stride_px!r}>
                (X, rois, image)
            {every}
        }}""")
