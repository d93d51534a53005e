"""What TensorRT 8.6 cannot take of ONNX, in words that it can; what is computed stays the same.

    CastLike             Cast to the type that is known: its parser has no CastLike
    Equal of booleans    Not of Xor: its comparisons take numbers only
    Gather of booleans   gathered as INT32: its gathering takes numbers only

Source: names in libnvonnxparser.so of 8.6.0; NvInfer.h 8.6, `ElementWiseOperation`; NVIDIA's
operator pages of 8.5.3, Gather.
"""

from __future__ import annotations

import onnx
from onnx import NodeProto, TensorProto, helper


def in_older_words(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with other nodes where TensorRT 8.6 needs them; for others it changes nothing.

    Args:
        model: with the type of every tensor, as `portable_model` gives it; not changed.
    """
    older = onnx.ModelProto()
    older.CopyFrom(model)
    graph = older.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    nodes = [said for node in graph.node for said in _said(node, types)]
    del graph.node[:]
    graph.node.extend(nodes)
    return onnx.shape_inference.infer_shapes(older, data_prop=True)


def _said(node: NodeProto, types: dict[str, int]) -> list[NodeProto]:
    of_booleans = bool(node.input) and types.get(node.input[0]) == TensorProto.BOOL
    if node.op_type == "CastLike" and types.get(node.output[0]):
        cast = _cast(node.input[0], node.output[0], types[node.output[0]])
        cast.name = node.name
        return [cast]
    if node.op_type == "Equal" and of_booleans:
        differs = f"{node.output[0]}_differs"
        return [
            helper.make_node("Xor", node.input, [differs], f"{node.name}_xor"),
            helper.make_node("Not", [differs], node.output, node.name),
        ]
    if node.op_type == "Gather" and of_booleans:
        number, found = f"{node.output[0]}_number", f"{node.output[0]}_found"
        gather = NodeProto()
        gather.CopyFrom(node)
        gather.input[0], gather.output[0] = number, found
        return [
            _cast(node.input[0], number, TensorProto.INT32),
            gather,
            _cast(found, node.output[0], TensorProto.BOOL),
        ]
    return [node]


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"cast_{target}", to=to)
