"""What TensorRT 8.6 cannot take of ONNX, in words that it can; what is computed stays the same.

    CastLike             Cast to the type that is known: its parser has no CastLike
    Equal of booleans    Not of Xor: its comparisons take numbers only
    Gather of booleans   gathered as INT32: its gathering takes numbers only
    known integers       computed here: of a Constant of several integers its parser says that
                         weights "of same values but of different types" are used, and where a
                         body computes with sizes it ends in SIGFPE (seen on an H100)

Source: names in libnvonnxparser.so of 8.6.0; NvInfer.h 8.6, `ElementWiseOperation`; NVIDIA's
operator pages of 8.5.3, Gather.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

MOST_KNOWN = 2**16
"""Elements of a tensor that is computed here; sizes and places have fewer, weights more."""


def in_older_words(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with other nodes where TensorRT 8.6 needs them; for others it changes nothing.

    Args:
        model: with the type of every tensor, as `portable_model` gives it; not changed.
    """
    older = _computed(model)
    graph = older.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    nodes = [said for node in graph.node for said in _said(node, types)]
    del graph.node[:]
    graph.node.extend(nodes)
    return onnx.shape_inference.infer_shapes(older, data_prop=True)


def _computed(model: ModelProto) -> ModelProto:
    """A copy whose tensors that depend on no input are initializers, as far as they are small."""
    known = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    given = len(known)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    shapes = {value.name: _shape(value) for value in values}
    left = []
    for node in model.graph.node:
        found = _values(node, known, shapes)
        if found is None:
            left.append(node)
        else:
            known |= dict(zip(node.output, found, strict=True))
    older = ModelProto()
    older.CopyFrom(model)
    del older.graph.node[:]
    older.graph.node.extend(left)
    asked = {name for node in left for name in node.input} | {o.name for o in model.graph.output}
    new = [numpy_helper.from_array(known[n], n) for n in list(known)[given:]]
    tensors = [t for t in (*model.graph.initializer, *new) if t.name in asked]
    del older.graph.initializer[:]
    older.graph.initializer.extend(tensors)
    typed = [v for v in model.graph.value_info if v.name in asked and v.name not in known]
    del older.graph.value_info[:]
    older.graph.value_info.extend(typed)
    if len(left) == len(model.graph.node):
        return older
    return _computed(onnx.shape_inference.infer_shapes(older, data_prop=True))


def _shape(value: onnx.ValueInfoProto) -> list[int] | None:
    sizes = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
    known = len(sizes) == len(value.type.tensor_type.shape.dim)
    return sizes if known and value.type.tensor_type.HasField("shape") else None


def _values(
    node: NodeProto, known: dict[str, npt.NDArray[np.generic]], shapes: dict[str, list[int] | None]
) -> list[npt.NDArray[np.generic]] | None:
    """What a node gives, where that is known and small."""
    if node.op_type == "Shape":
        sizes = shapes.get(node.input[0])
        ends = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        part = slice(ends.get("start"), ends.get("end"))
        return None if sizes is None else [np.array(sizes[part], np.int64)]
    if not all(name in known or not name for name in node.input):
        return None
    inputs = {name: known[name] for name in node.input if name}
    if any(value.size > MOST_KNOWN for value in inputs.values()):
        return None
    values = [np.asarray(value) for value in ReferenceEvaluator(node).run(None, inputs)]
    return values if all(value.size <= MOST_KNOWN for value in values) else None


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
