"""FP16 of a file as FP32, for a CPU without FP16 kernels: Casts would part what fuses there.

Stored halves keep their values; what is computed is no longer rounded to half.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def widen(model: Any) -> None:
    """Change an `onnx.ModelProto` without local functions in place."""
    import onnx

    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    graph = model.graph
    for stored in graph.initializer:
        _widen_tensor(onnx, stored)
    for value in graph.value_info:
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = single
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen_tensor(onnx, attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = single


def _widen_tensor(onnx: Any, tensor: Any) -> None:
    if tensor.data_type == onnx.TensorProto.FLOAT16:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
