from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from maskrt.engines.inline import portable_model, read_exported
from maskrt.engines.older_parser import in_older_words
from maskrt.engines.plugins.choice import prepare_operators

from ..conftest import Chain

TEXT = """
<ir_version: 8, opset_import: ["": 17]>
g (float[5] x, int64[2] places) => (float16[5] cast, bool[5] same, bool[2] picked, float[2] taken)
<float zero = {0.0}, bool[1] no = {0}, float16[1] half = {0}> {
    cast = CastLike (x, half)
    positive = Greater (x, zero)
    same = Equal (positive, no)
    picked = Gather <axis = 0> (positive, places)
    taken = Gather <axis = 0> (x, places)
}
"""


def computed(model: onnx.ModelProto) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.array([-1, 0, 0.1, 3, -0.0], np.float32)
    return list(session.run(None, {"x": x, "places": np.array([3, 0])}))


def test_other_words_compute_the_same() -> None:
    model = portable_model(onnx.parser.parse_model(TEXT), "text")
    older = in_older_words(model)
    onnx.checker.check_model(older)
    kinds = [node.op_type for node in older.graph.node]
    assert kinds == ["Cast", "Greater", "Xor", "Not", "Cast", "Gather", "Cast", "Gather"]
    assert all(node.name for node in older.graph.node)
    for found, expected in zip(computed(older), computed(model), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


SIZES = """
<ir_version: 8, opset_import: ["": 17]>
g (float[5] x, int64[2] places) => (float[5, 2] table, float[4] taken)
<int64[1] one = {1}, int64[1] two = {2}> {
    table_of_sizes = Constant <value_ints = [7, 2, 9]> ()
    width = Slice (table_of_sizes, one, two)
    height = Shape (x)
    table_shape = Concat <axis = 0> (height, width)
    column = Unsqueeze (x, one)
    table = Expand (column, table_shape)
    picked = Gather <axis = 0> (table, places)
    count = Div (table_shape, two)
    rows = Slice (count, one, two)
    square = Mul (width, width)
    taken = Reshape (picked, square)
}
"""


def test_what_depends_on_no_input_is_computed() -> None:
    model = portable_model(onnx.parser.parse_model(SIZES), "text")
    older = in_older_words(model)
    onnx.checker.check_model(older)
    kinds = [node.op_type for node in older.graph.node]
    assert kinds == ["Unsqueeze", "Expand", "Gather", "Reshape"]
    assert len(older.graph.initializer) == 3  # none that nothing asks for
    for found, expected in zip(computed(older), computed(model), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("strongly_typed", [False, True])
def test_tensorrt_8_6_alone_gets_them(chain: Chain, strongly_typed: bool) -> None:
    flavour: Any = SimpleNamespace(
        name="tensorrt", has_plugins=False, strongly_typed=strongly_typed, version=(8, 6)
    )
    exported = read_exported(chain.onnx_fp16)[0]
    kinds = {
        n.op_type for n in prepare_operators("auto", flavour, exported, "net").model.graph.node
    }
    assert ("CastLike" in kinds) == strongly_typed
