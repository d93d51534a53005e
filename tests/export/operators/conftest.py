"""Models of one `MaskrtRoiAlign` call, and boxes for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from maskrt.export.operators.domain import DOMAIN
from maskrt.export.operators.roi_align import ROI_ALIGN

Array = npt.NDArray[Any]
Case = tuple[int, float, int, int]
"""Output size, spatial scale, sampling ratio, bin step."""


def bare_call(
    x: Array, rois: Array, case: Case, *, opset: int = 17, op_type: str = ROI_ALIGN
) -> onnx.ModelProto:
    """One node without a body, with the attributes that say what it computes."""
    p, scale, s, step = case
    dtype = helper.np_dtype_to_tensor_dtype(x.dtype)
    attributes = {"output_size": p, "spatial_scale": scale, "sampling_ratio": s, "bin_step": step}
    node = helper.make_node(op_type, ["X", "rois"], ["Y"], "align", domain=DOMAIN, **attributes)
    side = -(-p // step)
    y_shape = (rois.shape[0] * rois.shape[1], x.shape[1], side, side)
    inputs = [
        helper.make_tensor_value_info("X", dtype, x.shape),
        helper.make_tensor_value_info("rois", TensorProto.FLOAT, rois.shape),
    ]
    outputs = [helper.make_tensor_value_info("Y", dtype, y_shape)]
    graph = helper.make_graph([node], "one call", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto, x: Array, rois: Array) -> list[Array]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x, "rois": rois})


def random_map() -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).uniform(-1, 1, (2, 3, 20, 31)).astype(np.float32)


def random_boxes(boxes: int = 60) -> npt.NDArray[np.float32]:
    """For two images of 80 x 124 px: inside, across borders, outside, without extent, mirrored."""
    rng = np.random.default_rng(8)
    corner = rng.uniform(-30, (150, 100), (2, boxes, 2))
    extent = np.exp(rng.uniform(-2, 4.5, (2, boxes, 2)))
    extent[:, ::10] = 0
    extent[:, 5::10] *= -1
    return np.concatenate([corner, corner + extent], 2).astype(np.float32)
