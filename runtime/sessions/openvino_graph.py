"""What a graph is changed into for OpenVINO's CPU plugin: FP32 islands, and roundings of their own.

Source: OpenVINO 2026.4 (CPU plugin: `DisablePrecisionConversion` runtime attribute; what its common
transformations do with a FakeQuantize behind Reshape and Transpose was seen in its profile).
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

NO_VALUES = ("Const", "Parameter", "Result")
# The plugin asks whether going "to f16" is forbidden, for BF16 too.
KEEP = {"name": "DisablePrecisionConversion", "version": "0", "value": "dynamic:f16"}


def with_islands(openvino: Any, core: Any, model: Any) -> Any:
    """The model with every node that touches an FP32 tensor kept in FP32."""
    with tempfile.TemporaryDirectory() as folder:
        xml, weights = Path(folder, "model.xml"), Path(folder, "model.bin")
        openvino.serialize(model, str(xml), str(weights))
        tree = ET.parse(xml)
        for layer in tree.getroot().iterfind("layers/layer"):
            types = {port.get("precision") for port in layer.iterfind("*/port")}
            if "FP32" in types and layer.get("type") not in NO_VALUES:
                ET.SubElement(_runtime_info(layer), "attribute", KEEP)
        tree.write(xml)
        tensor = openvino.Tensor(np.fromfile(weights, np.uint8))
        return core.read_model(xml.read_bytes(), tensor)


def _runtime_info(layer: ET.Element) -> ET.Element:
    """A layer's `rt_info` element, made behind its `data` where it has none."""
    found = layer.find("rt_info")
    if found is None:
        found = ET.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, found)
    return found


def keep_products_apart(model: Any) -> None:
    """Keep roundings to eight bits out of products of two computed factors, in place.

    The plugin moves a rounding up through Reshape and Transpose into the product in front of it.
    A product of RoIAlign's interpolation then runs in FP32, and a reference kernel, a slow one,
    rounds what it gives. Where a second node reads the product, the rounding stays by itself. That
    node is a product too, as the plugin leaves all between the last product and an output in FP32;
    its result is one more output of the graph, the contract's being in front.

    Args:
        model: an inlined `onnx.ModelProto`.
    """
    from onnx import helper, numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found = _rounded_products(model.graph, stored)
    for place, (product, scale) in enumerate(found.items()):
        names = [f"apart_{place}_{part}" for part in ("first", "row", "column", "square")]
        first, row, column, square = names
        model.graph.node.extend(
            (
                helper.make_node("Slice", [product, "apart_0", "apart_1", "apart_0"], [first]),
                helper.make_node("Flatten", [first], [row], axis=1),
                helper.make_node("Transpose", [row], [column]),
                helper.make_node("MatMul", [row, column], [square]),
            )
        )
        element = stored[scale].data_type
        model.graph.output.append(helper.make_tensor_value_info(square, element, [1, 1]))
    if found:
        model.graph.initializer.extend(
            numpy_helper.from_array(np.array([value], np.int64), f"apart_{value}")
            for value in (0, 1)
        )


def _rounded_products(graph: Any, stored: dict[str, Any]) -> dict[str, str]:
    """By result of a product of computed factors, the scale by which it is rounded."""
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        maker = makers.get(node.input[0])
        while maker is not None and maker.op_type in ("Reshape", "Transpose"):
            maker = makers.get(maker.input[0])
        if maker is not None and maker.op_type == "MatMul" and not set(maker.input) & set(stored):
            found[maker.output[0]] = node.input[1]
    return found
