"""The floor of graphs whose work is counted by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from maskrt.export.operators.local_functions import add_functions
from maskrt.export.roofline.floors import NodeFloor, group_floor_ms, kernel_works, node_floors
from maskrt.export.roofline.gpus import Gpu
from maskrt.runtime.errors import InputError

HEADER = '<ir_version: 8, opset_import: ["" : 19, "maskrt" : 1]>'
GPU = Gpu(
    "hand", {"fp32": 0.01, "tf32": 0.02, "fp16": 0.04, "int8": 0.08, "fp8": 0.08}, 1, 0, "by hand"
)
"""Five thousand multiply-accumulates in FP32 take 1 us, as a thousand bytes do; no cache."""
ROOMY = dataclasses.replace(GPU, l2_mib=1)

CONV_MACS, MATMUL_MACS = 8 * 256 * 72, 8 * 32 * 256
X, W, C, V, Y = 8 * 256, 8 * 8 * 9, 8 * 256, 256 * 32, 8 * 32
"""Values of each tensor."""

LAYERS = """
    c0 = Conv <pads = [1, 1, 1, 1]> ({x}, {w})
    c1 = Relu (c0)
    c2 = Add (c1, {shortcut})
    c = Reshape (c2, rows)
    y = MatMul ({c}, {v})
"""


def residual(kind: str = "float") -> onnx.ModelProto:
    """A convolution, its Relu, a residual sum and a product with stored weights."""
    layers = LAYERS.format(x="x", w="w", shortcut="x", c="c", v="v")
    text = f"g ({kind}[1, 8, 16, 16] x) => ({kind}[8, 32] y) {{ {layers} }}"
    dtype = np.float16 if kind == "float16" else np.float32
    return model_of(text, w=np.zeros((8, 8, 3, 3), dtype), v=np.zeros((256, 32), dtype))


def quantized(dtype: int) -> onnx.ModelProto:
    """The same with both layers between Q/DQ, as an export writes it."""
    layers = LAYERS.format(x="xd", w="wd", shortcut="x", c="cd", v="vd")
    before, after = layers.split("    y = ")
    text = f"""g (float[1, 8, 16, 16] x) => (float[8, 32] y)
        {{ xq = QuantizeLinear (x, s, z)
           xd = DequantizeLinear (xq, s, z)
           wd = DequantizeLinear (w, s, z)
           vd = DequantizeLinear (v, s, z)
           {before}
           cq = QuantizeLinear (c, s, z)
           cd = DequantizeLinear (cq, s, z)
           y = {after} }}"""
    model = model_of(text, s=np.array(1, np.float32))
    for name, shape in {"z": (), "w": (8, 8, 3, 3), "v": (256, 32)}.items():
        count = int(np.prod(shape))
        model.graph.initializer.append(helper.make_tensor(name, dtype, shape, bytes(count), True))
    return model


def model_of(text: str, **stored: np.ndarray) -> onnx.ModelProto:
    model = parser.parse_model(HEADER + text)
    stored = {"rows": np.array([8, 256]), **stored}
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in stored.items())
    return model


def rows(floors: tuple[NodeFloor, ...]) -> list[tuple[str, str, int, int]]:
    return [(f.work.op_type, f.work.precision, f.work.macs, f.bytes) for f in floors]


@pytest.mark.parametrize(
    ("kind", "precision", "width"), [("float", "fp32", 4), ("float16", "fp16", 2)]
)
def test_a_layer_takes_what_follows_it(kind: str, precision: str, width: int) -> None:
    floors = node_floors(residual(kind), GPU)
    assert rows(floors) == [
        # the shortcut is the input, which is read once; only the sum is written
        ("Conv", precision, CONV_MACS, width * (X + W + C)),
        ("MatMul", precision, MATMUL_MACS, width * (C + V + Y)),
    ]
    times = [(floor.compute_ms, floor.memory_ms) for floor in floors]
    speed = GPU.tera_ops[precision] * 1e9
    assert times == [
        (pytest.approx(2 * CONV_MACS / speed), pytest.approx(width * (X + W + C) / 1e6)),
        (pytest.approx(2 * MATMUL_MACS / speed), pytest.approx(width * (C + V + Y) / 1e6)),
    ]
    assert [floor.ms for floor in floors] == [max(pair) for pair in times]
    # half the bytes, but a quarter of the arithmetic
    assert [floor.bound for floor in floors] == ["compute" if width == 4 else "memory", "memory"]


@pytest.mark.parametrize(
    ("dtype", "precision"), [(TensorProto.INT8, "int8"), (TensorProto.FLOAT8E4M3FN, "fp8")]
)
def test_quantized_layers_read_bytes(dtype: int, precision: str) -> None:
    scale = 4 + 1  # and the zero point
    assert rows(node_floors(quantized(dtype), GPU)) == [
        ("QuantizeLinear", "", 0, 4 * X + X + scale),
        # its shortcut is the FP32 input again; what it writes is rounded already
        ("Conv", precision, CONV_MACS, X + W + 4 * X + C + scale),
        ("MatMul", precision, MATMUL_MACS, C + V + 4 * Y),
    ]


def test_what_the_cache_holds_moves_no_bytes() -> None:
    first, second = node_floors(residual(), ROOMY)
    assert (first.bytes, second.bytes) == (4 * (X + W), 4 * (V + Y))
    small = dataclasses.replace(GPU, l2_mib=4096 / 2**20)
    assert node_floors(residual(), small)[1].bytes == 4 * (C + V + Y) - 4096


def test_tf32_is_for_fp32_alone() -> None:
    full, tf32 = (node_floors(residual(), ROOMY, tf32=on)[0] for on in (False, True))
    assert tf32.compute_ms == full.compute_ms / 2
    half = residual("float16")
    assert node_floors(half, ROOMY, tf32=True) == node_floors(half, ROOMY)
    without = dataclasses.replace(ROOMY, tera_ops={"fp32": 0.01})
    assert node_floors(residual(), without, tf32=True)[0].compute_ms == full.compute_ms


def test_a_precision_without_units_is_refused() -> None:
    old = dataclasses.replace(GPU, tera_ops={"fp32": 1, "fp16": 4})
    with pytest.raises(InputError, match=r"hand: products in FP8 found .* expected fp32, fp16"):
        node_floors(quantized(TensorProto.FLOAT8E4M3FN), old)


def test_a_chain_is_one_kernel_and_a_softmax_too() -> None:
    text = """g (float[4, 100] x) => (float[4, 50] y)
        { a = Mul (x, x)
          b = Exp (a)
          s = ReduceSum <keepdims = 1> (b)
          c = Div (b, s)
          t = Transpose <perm = [1, 0]> (c)
          d = Slice (t, zero, fifty)
          y = Transpose <perm = [1, 0]> (d) }"""
    model = model_of(text, zero=np.array([0]), fifty=np.array([50]))
    assert rows(node_floors(model, GPU)) == [("Mul", "", 0, 4 * (400 + 200))]


def test_what_is_set_apart_moves_its_bytes_again() -> None:
    text = """g (float[4, 6] x) => (float[6, 4] y)
        { a = Relu (x)
          t = Transpose <perm = [1, 0]> (a)
          y = Neg (t) }"""
    model = model_of(text)
    assert [work.moved.ends for work in kernel_works(model)] == [2 * 96]
    apart = kernel_works(model, apart={"Transpose"})
    assert [work.op_type for work in apart] == ["Relu", "Transpose"]
    assert [(work.moved.ends, sum(work.moved.between)) for work in apart] == [(96, 96), (96, 96)]


def test_a_product_is_read_as_a_whole_before_it_is_reduced() -> None:
    text = """g (float16[1, 2, 4, 4] x) => (float[1, 2, 1, 1] y)
        { a = Conv (x, w)
          r = Relu (a)
          f = Cast <to = 1> (r)
          y = GlobalAveragePool (f) }"""
    model = model_of(text, w=np.zeros((2, 2, 1, 1), np.float16))
    # widened on the way: between both lie halves
    assert rows(node_floors(model, GPU)) == [
        ("Conv", "fp16", 64, 2 * (32 + 4 + 32)),
        ("GlobalAveragePool", "", 0, 2 * 32 + 4 * 2),
    ]


def test_nodes_of_one_name_are_told_apart() -> None:
    model = residual()
    for node in model.graph.node:
        node.name = "same"
    assert [work.macs for work in kernel_works(model)] == [CONV_MACS, MATMUL_MACS]


def test_joined_maps_stay_where_they_are() -> None:
    text = """g (float[1, 2, 4, 4] x) => (float[1, 1, 4, 4] y)
        { a = Conv (x, w)
          b = Conv (x, w)
          c = Concat <axis = 1> (a, b)
          y = Conv (c, v) }"""
    stored = {"w": np.zeros((2, 2, 1, 1), np.float32), "v": np.zeros((1, 4, 1, 1), np.float32)}
    floors = node_floors(model_of(text, **stored), GPU)
    # the weights of the second are known; both maps are read once, and not copied
    assert [f.bytes for f in floors] == [4 * (32 + 4 + 32), 4 * (32 + 4 + 32), 4 * (64 + 4 + 16)]
    assert [f.bytes for f in node_floors(model_of(text, **stored), ROOMY)] == [144, 0, 80]


def test_a_gather_reads_what_it_takes() -> None:
    text = """g (float[1000, 8] x, int64[4] i) => (float[4, 8] y, float[1000] z)
        { y = Gather <axis = 0> (x, i)
          s = Gather <axis = 1> (x, column)
          z = Relu (s) }"""
    floors = node_floors(model_of(text, column=np.array(3)), GPU)
    # one at computed places, one at fixed ones, which is a slice of what it reads
    assert rows(floors) == [
        ("Gather", "", 0, 4 * 32 + 8 * 4 + 4 * 32),
        ("Relu", "", 0, 4 * (1000 + 1000)),
    ]


def test_a_loop_reads_what_its_body_names() -> None:
    text = """g (float[100, 8] x) => (float[8] y)
        { m = Relu (x)
          last = Loop (three, yes, start) <body = body (int64 i, bool go, float[8] before)
              => (bool on, float[8] after) {
                row = Gather <axis = 0> (m, i)
                after = Add (before, row)
                on = Identity (go) }>
          y = Neg (last) }"""
    stored = {"three": np.array(3), "yes": np.array(True), "start": np.zeros(8, np.float32)}
    floors = node_floors(model_of(text, **stored), GPU)
    assert rows(floors)[0] == ("Relu", "", 0, 4 * (800 + 800))
    assert rows(floors)[1] == ("Loop", "", 0, 8 + 1 + 4 * 8 + 4 * 800 + 4 * 8)


def operator() -> onnx.ModelProto:
    text = """g (float16[1, 4, 6, 8] x, float[1, 5, 4] rois) => (float16[5, 4, 3, 3] y)
        { f = Conv (x, w)
          y = maskrt.MaskrtRoiAlign <output_size = 3, spatial_scale = 1.0, sampling_ratio = 2>
              (f, rois) }"""
    model = model_of(text, w=np.zeros((4, 4, 1, 1), np.float16))
    for place, node in enumerate(model.graph.node):
        node.name = f"/neck/{node.op_type}_{place}"
    return add_functions(model)


def test_a_plugin_reads_its_map_once_and_a_body_computes() -> None:
    plugin = kernel_works(operator(), "plugin")
    assert [(w.op_type, w.operator, w.macs) for w in plugin][1:] == [("MaskrtRoiAlign", "", 0)]
    moved = node_floors(operator(), GPU, "plugin")[1].bytes
    assert moved == 2 * 4 * 48 + 4 * 20 + 2 * 5 * 4 * 9
    body = kernel_works(operator(), "portable")[1:]
    assert {work.operator for work in body} == {"MaskrtRoiAlign"}
    assert sum(w.macs for w in body) == 5 * 3 * 8 * (4 * 6) + 5 * (3 * 4) * 6 * 3
    assert {(w.scope, w.nodes[0]) for w in body} == {("neck", "/neck/MaskrtRoiAlign_1")}


def test_every_millisecond_is_some_groups() -> None:
    floors = node_floors(operator(), GPU)
    total = sum(floor.ms for floor in floors)
    by_node = group_floor_ms(floors, ["/neck/Conv_0", "/neck/MaskrtRoiAlign_1"])
    assert by_node["/neck/Conv_0"] == floors[0].ms
    assert by_node[""] == 0
    by_path = group_floor_ms(floors, ["neck", "head"])
    assert by_path["head"] == 0
    for found in (by_node, by_path, group_floor_ms(floors, [])):
        assert sum(found.values()) == pytest.approx(total)
