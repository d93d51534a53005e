"""INT8 files in the form of integer kernels, run by ONNX Runtime as it is and in that form.

All scales are powers of two and all values whole, so that both forms give the same numbers.
"""

from __future__ import annotations

import collections
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

from maskrt.runtime.sessions.integers.form import in_integer_form
from maskrt.runtime.sessions.integers.plan import RANGES_KEY

# Two layers, a shortcut that is rounded, a flagged map, and a reader of the sum in FP32. Nothing is
# rounded behind the layers: that is what the form adds.
BLOCK = """
<ir_version: 9, opset_import: ["" : 19]>
block (float[1, 2, 4, 4] x, bool[1, 1, 4, 4] valid) => (float[1, 2, 4, 4] y)
<
    float[1] unused = {0},
    float one = {1},
    int8 zero = {0},
    int8[2, 2, 1, 1] w1 = {1, 2, -1, 1},
    float[2] w1_scale = {2, 1},
    int8[2] zeros = {0, 0},
    float[2] b1 = {-4, BIAS},
    int8[2, 2, 1, 1] w2 = {1, -1, 0, 2}
>
{
    x_q = QuantizeLinear (x, one, zero)
    x_d = DequantizeLinear (x_q, one, zero)
    w1_d = DequantizeLinear <axis = 0> (w1, w1_scale, zeros)
    c1 = Conv (x_d, w1_d, b1)
    r1 = Relu (c1)
    r1_q = QuantizeLinear (r1, one, zero)
    r1_d = DequantizeLinear (r1_q, one, zero)
    flags = Cast <to = 1> (valid)
    m = Mul (r1_d, flags)
    m_q = QuantizeLinear (m, one, zero)
    m_d = DequantizeLinear (m_q, one, zero)
    w2_d = DequantizeLinear <axis = 0> (w2, w1_scale, zeros)
    c2 = Conv (m_d, w2_d)
    s = Add (c2, x_d)
    r2 = Relu (s)
    y = Neg (r2)
}
"""
RANGES = {"x": 127.0, "r1": 127.0, "m": 127.0, "c2": 127.0, "r2": 127.0}
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16

Array = npt.NDArray[np.generic]


def block(bias: str = "2", ranges: dict[str, float] = RANGES) -> bytes:
    model = onnx.parser.parse_model(BLOCK.replace("BIAS", bias))
    model.metadata_props.add(key=RANGES_KEY, value=json.dumps(ranges))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def half_block() -> bytes:
    """The same in FP16, with FP32 at its ends as an exported file has it."""
    model = onnx.ModelProto.FromString(block(ranges={**RANGES, "x_half": 127.0}))
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            attribute.i = HALF if attribute.name == "to" else attribute.i
        for names in (node.input, node.output):
            names[:] = [f"{name}_half" if name in "xy" else name for name in names]
    make = onnx.helper.make_node
    model.graph.node.insert(0, make("Cast", ["x"], ["x_half"], to=HALF))
    model.graph.node.append(make("Cast", ["y_half"], ["y"], to=FLOAT))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def as_it_stands(model: bytes, inputs: dict[str, Array]) -> Array:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options).run(None, inputs)[0]


def in_integers(
    model: bytes, inputs: dict[str, Array], folder: Path
) -> tuple[Array, collections.Counter[str]]:
    """The result, and how many of each operator ONNX Runtime made of the form."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    form = in_integer_form(onnx.ModelProto.FromString(model))
    found = ort.InferenceSession(form.SerializeToString(), options).run(None, inputs)[0]
    nodes = onnx.load(folder / "optimized.onnx").graph.node
    return found, collections.Counter(node.op_type for node in nodes)


def inputs() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (1, 2, 4, 4)).astype(np.float32)
    return {"x": x, "valid": rng.random((1, 1, 4, 4)) < 0.7}


def test_layers_sums_and_flags_run_in_integers_and_give_the_same(tmp_path: Path) -> None:
    found, operators = in_integers(block(), inputs(), tmp_path)
    expected = as_it_stands(block(), inputs())
    assert np.abs(expected).max() > 5
    np.testing.assert_array_equal(found, expected)
    assert operators["QLinearConv"] == 2
    assert (operators["QLinearAdd"], operators["QLinearMul"]) == (1, 1)
    assert operators["Conv"] == operators["Add"] == operators["Relu"] == 0


def test_fp16_becomes_fp32_with_the_same_values(tmp_path: Path) -> None:
    found, operators = in_integers(half_block(), inputs(), tmp_path)
    np.testing.assert_array_equal(found, as_it_stands(block(), inputs()))
    assert operators["QLinearConv"] == 2


def test_a_bias_without_room_in_int32_is_held_in_larger_steps(tmp_path: Path) -> None:
    large = block(bias="-3000000000")  # of an int32 that wrapped the channel would be full
    found, operators = in_integers(large, inputs(), tmp_path)
    np.testing.assert_array_equal(found, as_it_stands(large, inputs()))
    assert operators["QLinearConv"] == 2


def test_a_layer_whose_result_has_no_known_range_stays_in_fp32(tmp_path: Path) -> None:
    unknown = block(ranges={})
    found, operators = in_integers(unknown, inputs(), tmp_path)
    np.testing.assert_array_equal(found, as_it_stands(unknown, inputs()))
    assert (operators["QLinearConv"], operators["QLinearAdd"]) == (1, 0)


def test_what_comes_out_beyond_its_range_is_cut_at_it(tmp_path: Path) -> None:
    narrow = block(ranges={**RANGES, "r2": 4.0})
    found, _ = in_integers(narrow, inputs(), tmp_path)
    step = np.float32(4 / 127)
    # uint8 goes to twice the range where nothing is negative
    assert found.min() == pytest.approx(-255 * step)
