from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from maskrt.engines.inline import portable_model, read_exported, tensor_types


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
