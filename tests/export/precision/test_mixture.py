"""Mixtures: where pairs of Q/DQ stand, what is refused, and what a group in eight bits leaves."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from maskrt.export.precision.eight_bits import EIGHT_BITS, EightBits, scale_for, weight_scale
from maskrt.export.precision.emulation import emulated
from maskrt.export.precision.mixture import Mixture, lowest, to_mixture
from maskrt.export.typed_graph import TypedGraph
from maskrt.runtime.errors import ExportError

HEADER = '<ir_version: 8, opset_import: ["" : 18]> g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)'


def model_of(body: str) -> onnx.ModelProto:
    """Layers named after their results, each with weights of its own."""
    model = parser.parse_model(f"{HEADER} {{ {body} }}")
    rng = np.random.default_rng(4)
    weights = {n for node in model.graph.node for n in node.input if n.startswith("w")}
    for name in sorted(weights):
        values = rng.standard_normal((4, 4, 1, 1)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def mixed(body: str, precision: EightBits = "int8", **groups: str) -> TypedGraph:
    """Every layer in eight bits but for those named otherwise; each tensor's range is 10."""
    model = model_of(body)
    layers = {n.name: precision for n in model.graph.node if n.op_type == "Conv"}
    ranges = {name: 10.0 for node in model.graph.node for name in (*node.input, *node.output)}
    return TypedGraph(to_mixture(model, Mixture({**layers, **groups}, "fp16", ranges)))  # type: ignore[dict-item]


def reads(graph: TypedGraph, name: str) -> list[str]:
    """What a node's inputs are: `tensor!` where it is rounded, and a stored weight `w!`."""
    (node,) = (n for n in graph.nodes if n.name == name)
    found = []
    for tensor in node.input:
        maker = graph.nodes[graph.producer[tensor]] if tensor in graph.producer else None
        rounded = maker is not None and maker.op_type == "DequantizeLinear"
        found.append(tensor.removesuffix("_int8_dequantized") + "!" if rounded else tensor)
    return found


SHORTCUT = "a = Conv (x, w1)\nr = Relu (a)\nb = Conv (r, w2)\ns = Add (b, r)\nt = Relu (s)\n"
PROJECTED = "a = Conv (x, w1)\nb = Conv (x, w2)\nc = Conv (b, w3)\ns = Add (c, a)\nt = Relu (s)\n"
END = "y = Conv (t, w9)"


def test_a_sum_reads_the_shortcut_that_the_layer_beside_it_reads() -> None:
    graph = mixed(SHORTCUT + END)
    assert reads(graph, "b") == ["r!", "w2!"]
    assert reads(graph, "s") == ["b", "r!"], "one pair for both readers"
    assert len([n for n in graph.nodes if n.op_type == "QuantizeLinear"]) == 3  # x, r, t


def test_a_sum_of_two_layers_reads_the_earlier_one_rounded() -> None:
    """The later one fuses with the sum."""
    graph = mixed(PROJECTED + END)
    assert reads(graph, "s") == ["c", "a!"]


def test_a_sum_that_no_rounded_layer_reads_is_left_alone() -> None:
    assert reads(mixed(PROJECTED + END, y="fp16"), "s") == ["c", "a"]


def test_layers_in_fp16_read_what_no_pair_has_rounded() -> None:
    graph = mixed(
        "a = Conv (x, w1)\nr = Relu (a)\nb = Conv (r, w2)\nc = Conv (r, w3)\ny = Add (b, c)",
        c="fp16",
    )
    assert reads(graph, "b") == ["r!", "w2!"]
    assert reads(graph, "c") == ["r", "w3"]


def test_what_moves_values_is_rounded_on_both_sides_by_one_scale() -> None:
    body = """a = Conv (x, w1)
        m = MaxPool <kernel_shape = [1, 1]> (a)
        b = Conv (a, w2)
        c = Concat <axis = 1> (m, b)
        k = Slice (c, i0, i4, i1)
        y = Conv (k, w3)"""
    model = model_of(body)
    for name, value in (("i0", 0), ("i4", 4), ("i1", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    layers = dict.fromkeys(("a", "b", "y"), "int8")
    ranges = {"x": 1.0, "a": 5.0, "k": 20.0}
    graph = TypedGraph(to_mixture(model, Mixture(layers, "fp16", ranges)))  # type: ignore[arg-type]
    assert [reads(graph, name)[0] for name in ("m", "b", "k", "y")] == ["a!", "a!", "c!", "k!"]
    assert reads(graph, "c") == ["m!", "b!"]
    steps = {
        n.input[0]: float(numpy_helper.to_array(graph.stored[n.input[1]]))
        for n in graph.nodes
        if n.op_type == "QuantizeLinear"
    }
    assert steps.keys() == {"x_fp16", "a", "m", "b", "c", "k"}
    assert {steps[name] for name in "ambck"} == {float(scale_for(20.0, "int8", half=True))}


def test_a_mask_of_flags_moves_values_too() -> None:
    body = """a = Conv (x, w1)
        r = Relu (a)
        flag = Greater (x, zero)
        f = Cast <to = 1> (flag)
        m = Mul (r, f)
        y = Conv (m, w2)"""
    model = model_of(body)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    mixture = Mixture(dict.fromkeys("ay", "int8"), "fp16", dict.fromkeys("xrm", 3.0))  # type: ignore[arg-type]
    graph = TypedGraph(to_mixture(model, mixture))
    assert reads(graph, "m")[0] == "r!"
    assert reads(graph, "y")[0] == "m!"


def test_a_mixture_without_fp16_has_no_half_in_it() -> None:
    model = model_of(SHORTCUT + END)
    ranges = dict.fromkeys("xrt", 3.0)
    typed = to_mixture(model, Mixture({"b": "int8"}, "fp32", ranges))
    assert TensorProto.FLOAT16 not in TypedGraph(typed).types.values()
    both = TypedGraph(to_mixture(model, Mixture({"b": "int8", "y": "fp16"}, "fp32", ranges)))
    (y,) = (n for n in both.nodes if n.name == "y")
    assert both.types[y.input[1]] == TensorProto.FLOAT16


def test_the_lowest_precision_names_the_file() -> None:
    assert lowest(Mixture()) == "fp16"
    assert lowest(Mixture(rest="fp32")) == "fp32"
    assert lowest(Mixture({"a": "fp8", "b": "fp32"})) == "fp8"
    assert lowest(Mixture({"a": "fp8", "b": "int8"}, "fp32")) == "int8"


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"r": "int8"}, "group 'r': int8 found, but it has no layer; expected a layer"),
        ({"none": "int8"}, "group 'none': int8 found, but it has no layer"),
        ({"a": "int8"}, "layer 'a': no range of 'x' found; expected one from calibration"),
    ],
)
def test_what_cannot_be_in_eight_bits_is_refused(groups: dict[str, str], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        to_mixture(model_of(SHORTCUT + END), Mixture(groups))  # type: ignore[arg-type]


# Numbers


@pytest.mark.parametrize("precision", EIGHT_BITS)
def test_fp16_scales_are_the_next_half_above_and_never_zero(precision: EightBits) -> None:
    largest = np.array([0, 1e-12, 1e-5, 0.1, 3.0, 1e4])
    scale = scale_for(largest, precision, half=True)
    assert scale[0] == 1
    assert (scale.astype(np.float16) == scale).all()
    limit = 127 if precision == "int8" else 448
    assert (scale[1:].astype(np.float64) * limit >= largest[1:]).all()
    assert scale[1] == 2.0**-24
    np.testing.assert_allclose(scale[3:] * limit, largest[3:], rtol=1e-3)


def test_weights_have_a_scale_per_channel_in_int8_and_one_in_fp8() -> None:
    weight = np.array([[1, -127], [0, 0], [2, 254]], np.float32)
    assert weight_scale(weight, 0, "int8", half=False).tolist() == [1, 1, 2]
    assert weight_scale(weight, 0, "fp8", half=False).tolist() == pytest.approx(254 / 448)


def test_int8_by_hand() -> None:
    """x = 0.26, 0.25 and 9 at a range of 2.54: steps of 0.02 give 13, 12 (ties to even) and 127."""
    found = by_hand("int8", 2.54, np.array([0.26, 0.25, 9.0]), weight=3.0)
    step = float(scale_for(2.54, "int8", half=False))
    half = float(np.float32(3.0))
    assert found.tolist() == pytest.approx([13 * step * half, 12 * step * half, 127 * step * half])


def test_fp8_by_hand() -> None:
    """At a range of 448 the scale is 1: 17 and 19 lie between 16, 18 and 20, 500 is beyond 448."""
    found = by_hand("fp8", 448.0, np.array([17.0, 19.0, 500.0]), weight=448.0)
    assert found.tolist() == [16 * 448, 20 * 448, 448 * 448]


def by_hand(precision: EightBits, largest: float, x: np.ndarray, weight: float) -> np.ndarray:  # type: ignore[type-arg]
    """One 1x1 layer with one weight, through the emulation and ONNX Runtime."""
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[1, 1, 1, 3] x) => (float[1, 1, 1, 3] y)'
        " { y = Conv (x, w) }"
    )
    model.graph.initializer.append(
        numpy_helper.from_array(np.full((1, 1, 1, 1), weight, np.float32), "w")
    )
    model.graph.node[0].name = "y"
    typed = to_mixture(model, Mixture({"y": precision}, "fp32", {"x": largest}))
    return run(emulated(typed), x.astype(np.float32).reshape(1, 1, 1, 3)).ravel()


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("precision", EIGHT_BITS)
@pytest.mark.parametrize("step", [1.0, 0.0123])
def test_every_half_is_rounded_as_the_format_says(precision: EightBits, step: float) -> None:
    """FP8 as ml_dtypes rounds, on all 65536 halves; beyond the format both saturate."""
    kind = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}[precision]
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 19]> g (float[n] x) => (float[n] y) {'
        " q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, s, z) }"
    )
    scale = np.array(step, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(scale, "s"))
    model.graph.initializer.append(helper.make_tensor("z", kind, [], bytes(1), raw=True))
    x = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    x = x[~np.isnan(x)]
    ratio = x / scale
    if precision == "int8":
        wanted = np.clip(np.round(ratio), -128, 127) * scale
    else:
        stored = np.clip(ratio, -448, 448).astype(ml_dtypes.float8_e4m3fn)
        wanted = stored.astype(np.float32) * scale
    np.testing.assert_array_equal(run(emulated(model), x), wanted)


def test_emulated_is_what_the_file_itself_computes_where_onnx_runtime_obeys_it() -> None:
    model = model_of(PROJECTED + END)
    ranges = dict.fromkeys("xabcst", 4.0)
    typed = to_mixture(model, Mixture(dict.fromkeys("abcy", "int8"), "fp32", ranges))  # type: ignore[arg-type]
    x = np.random.default_rng(5).standard_normal((1, 4, 8, 8)).astype(np.float32)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(
        typed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(run(emulated(typed), x), found)
