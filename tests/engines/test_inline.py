from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import helper

from maskrt.engines.inline import (
    keep_bounds_named,
    plugin_model,
    portable_model,
    read_exported,
    tensor_specs,
    tensor_types,
)
from maskrt.runtime.contract import TensorSpec
from maskrt.runtime.errors import BuildError


def test_inlined_model_has_standard_operators_only(tiny_onnx: Path) -> None:
    model = portable_model(read_exported(tiny_onnx)[0], "tiny")
    assert list(model.functions) == []
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [n.op_type for n in model.graph.node].count("Add") == 2


def test_every_node_has_a_name_and_every_tensor_a_type(tiny_onnx: Path) -> None:
    model = portable_model(read_exported(tiny_onnx)[0], "tiny")
    assert all(node.name for node in model.graph.node)
    types = tensor_types(model)
    assert all(types[name] for node in model.graph.node for name in node.output)
    assert (types["features"], types["scores"], types["images"]) == ("float16", "float32", "uint8")


def test_inlined_model_computes_the_same(tiny_onnx: Path) -> None:
    exported = read_exported(tiny_onnx)[0]
    feeds = {
        "images": np.random.default_rng(1).integers(0, 255, (1, 8, 8, 3), dtype=np.uint8),
        "image_sizes": np.array([[8, 6]], np.int32),
    }
    results = [
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            ["scores", "counts"], feeds
        )
        for m in (exported, portable_model(exported, "tiny"))
    ]
    # Same operators in the same order on the same runtime: not a bit may differ.
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], [[16, 12]])


def with_another_function(path: Path) -> onnx.ModelProto:
    """The tiny model, its sizes computed by a local function of another domain."""
    model = read_exported(path)[0]
    body = [helper.make_node("Add", ["X", "X"], ["Y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("other", "Double", ["X"], ["Y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("other", 1))
    (node,) = (n for n in model.graph.node if n.name == "count")
    node.CopyFrom(helper.make_node("Double", ["image_sizes"], ["counts"], domain="other"))
    return model


def test_for_plugins_our_operators_stay_and_their_bodies_go(tiny_onnx: Path) -> None:
    exported = with_another_function(tiny_onnx)
    model = plugin_model(exported, "tiny")
    assert list(model.functions) == []
    assert [(n.name, n.op_type) for n in model.graph.node if n.domain] == [
        ("custom", "MaskrtTwice")
    ]
    assert [n.op_type for n in model.graph.node][-1] == "Add"
    assert all(node.name for node in model.graph.node)
    assert len(exported.functions) == 2  # the model that was read is as it was


def test_for_plugins_the_bodies_tell_every_shape(tiny_onnx: Path) -> None:
    exported = with_another_function(tiny_onnx)
    specs = tensor_specs(plugin_model(exported, "tiny"))
    assert specs["more"] == TensorSpec("more", (1, 4, 8, 8), "float16")
    portable = tensor_specs(portable_model(exported, "tiny"))
    assert specs == {name: portable[name] for name in specs}
    assert {n for node in exported.graph.node for n in node.output} <= set(specs)


@pytest.mark.parametrize("prepare", [portable_model, plugin_model])
def test_an_operator_of_another_domain_needs_a_body(prepare: object, tiny_onnx: Path) -> None:
    exported = with_another_function(tiny_onnx)
    del exported.functions[1]
    with pytest.raises(BuildError, match="calls other::Double, which has no portable body"):
        prepare(exported, "tiny")


def test_one_sided_clips_take_their_bound_by_name_and_compute_the_same() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["": 17]>
    g (float[7] x) => (float[7] low, float[7] high, float[7] both, float[7] none)
    <float l = {-1.0}, float h = {2.0}> {
        low = Clip (x, l)
        high = Clip (x, , h)
        both = Clip (x, l, h)
        none = Clip (x)
    }
    """)
    x = np.array([-3e38, -3, -1, 0, 2, 5, 3e38], np.float32)

    def computed() -> list[np.ndarray]:
        data = model.SerializeToString()
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})

    before = computed()
    keep_bounds_named(model)
    nodes = [(n.op_type, *n.input) for n in model.graph.node]
    assert nodes[:2] == [("Max", "x", "l"), ("Min", "x", "h")]
    assert [n[0] for n in nodes[2:]] == ["Clip", "Clip"]
    for found, expected in zip(computed(), before, strict=True):
        np.testing.assert_array_equal(found, expected)
