"""The FP16 pass: which nodes go to half, where Casts stand, and what real runtimes make of it."""

import logging
from collections import Counter
from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, checker, inliner, numpy_helper, parser

from maskrt.export.macs import graph_macs
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.precision.fp16 import half_node_share, to_fp16
from maskrt.export.precision.policy import POLICY
from maskrt.export.typed_graph import scope_of
from maskrt.runtime.errors import ExportError

HEADER = '<ir_version: 8, opset_import: ["" : 17, "maskrt" : 1]>'
HALF_STEP = 2.0**-11  # relative rounding of one stored value

RESIDUAL = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
    a = Conv (x, w)
    r = Relu (a)
    b = Conv (r, w2)
    s = Add (b, r)
    q = Relu (s)
    c = Conv (q, w)
    y = Sigmoid (c)
}"""


def model_of(text: str, scale: float = 1.0, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A model from ONNX text with random weights of the given shapes."""
    model = parser.parse_model(HEADER + text)
    rng = np.random.default_rng(3)
    for name, shape in weights.items():
        values = (rng.standard_normal(shape) * scale).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def residual() -> onnx.ModelProto:
    return model_of(RESIDUAL, 0.5, w=(4, 4, 1, 1), w2=(4, 4, 1, 1))


def types_of(model: onnx.ModelProto) -> dict[str, str]:
    """Tensor name -> "fp16" or "fp32"."""
    names = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}
    graph = model.graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    values |= {t.name: t.data_type for t in graph.initializer}
    return {name: names.get(kind, "other") for name, kind in values.items()}


def casts(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(n.input[0], n.output[0]) for n in model.graph.node if n.op_type == "Cast"]


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


MARKED = """g (float[1, 4, 6, 6] x, int32[1] width) => (float[1, 4, 6, 6] y) {
    columns = Constant <value = int32[6] {0, 1, 2, 3, 4, 5}> ()
    inside = Less (columns, width)
    flags = Cast <to = 1> (inside)
    a = Conv (x, w)
    r = Relu (a)
    m = Mul (r, flags)
    c = Conv (m, w)
    z = Mul (x, flags)
    d = Conv (z, w)
    s = Add (c, d)
    y = Sigmoid (s)
}"""


class Tiny(torch.nn.Module):
    """A two-stage network in miniature: pixels, layers, boxes, pooled regions, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(),
        )  # fmt: skip
        self.rpn = torch.nn.Conv2d(8, 5, 1)
        self.box_predictor = torch.nn.Linear(8, 6)
        self.mask_head = torch.nn.ConvTranspose2d(8, 4, 2, 2)
        self.register_buffer("mean", torch.full((3, 1, 1), 120.0))
        self.register_buffer("ones", torch.ones(16, 16).triu())

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pixels = (images.float().permute(0, 3, 1, 2) - self.mean) / 58.0
        features = self.backbone(pixels)
        rpn = self.rpn(features)
        top, index = rpn[:, 0].flatten(1).topk(16, 1)
        deltas = rpn[:, 1:].permute(0, 2, 3, 1).reshape(1, -1, 4)
        boxes = deltas.gather(1, index[..., None].expand(-1, -1, 4)).exp() * 600.0
        rows = features.flatten(2).transpose(1, 2).gather(1, index[..., None].expand(-1, -1, 8))
        scores = self.box_predictor(rows).softmax(-1)
        masks = self.mask_head(features).sigmoid()
        overlap = (boxes @ boxes.transpose(1, 2)).clamp(0, 1)
        keep = (overlap > 0.5).float() @ self.ones
        return boxes, scores, masks, keep + top[:, None]


@cache
def exported() -> onnx.ModelProto:
    torch.manual_seed(0)
    images = torch.zeros(1, 16, 24, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        Tiny().eval(), (images,), dynamo=True, opset_version=18, verbose=False,
        input_names=["images"], output_names=["boxes", "scores", "masks", "keep"],
    )  # fmt: skip
    return program.model_proto


with_exporter = pytest.mark.filterwarnings("ignore")  # torch's exporter warns about itself


def test_layers_and_what_joins_them_are_half() -> None:
    types = types_of(to_fp16(residual()))
    assert {types[name] for name in ("a", "r", "b", "s", "q", "c", "w", "w2")} == {"fp16"}
    assert types["y"] == "fp32"


def test_cells_are_marked_in_half_where_the_map_is_in_half() -> None:
    source = model_of(MARKED, 0.5, w=(4, 4, 1, 1))
    model = to_fp16(source)
    types = types_of(model)
    assert (types["flags"], types["m"], types["z"]) == ("fp32", "fp16", "fp32")
    assert ("flags", "flags_fp16") in casts(model)
    assert not [name for name, _ in casts(model) if name == "r"]
    x = np.random.default_rng(4).standard_normal((1, 4, 6, 6)).astype(np.float32)
    width = np.array([4], np.int32)
    (found,), (wanted,) = run(model, x=x, width=width), run(source, x=x, width=width)
    assert np.allclose(found, wanted, atol=2e-3)


def test_one_cast_per_tensor_and_direction() -> None:
    mixed = to_fp16(residual())
    assert casts(mixed) == [("x", "x_fp16"), ("c", "c_fp32")]
    wide = model_of(
        """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y, float[1, 4, 6, 6] z) {
            a = Conv (x, w)
            b = Conv (x, w)
            s = Sigmoid (a)
            t = Exp (a)
            u = Sigmoid (b)
            y = Add (s, t)
            z = Add (u, t)
        }""",
        w=(4, 4, 1, 1),
    )
    assert sorted(casts(to_fp16(wide))) == [("a", "a_fp32"), ("b", "b_fp32"), ("x", "x_fp16")]


def test_graph_inputs_and_outputs_keep_names_and_types() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] a, float[1, 4, 6, 6] y) {
        a = Conv (x, w)
        r = Relu (a)
        y = Conv (r, w)
    }"""
    model = model_of(text, 0.5, w=(4, 4, 1, 1))
    mixed = to_fp16(model)
    assert mixed.graph.input == model.graph.input
    assert mixed.graph.output == model.graph.output
    x = np.linspace(-1, 1, 144, dtype=np.float32).reshape(1, 4, 6, 6)
    for got, want in zip(run(mixed, x=x), run(model, x=x), strict=True):
        np.testing.assert_allclose(got, want, atol=8 * HALF_STEP * np.abs(want).max())


def test_arithmetic_that_ends_in_no_layer_stays_float() -> None:
    text = """g (float[1, 4, 6, 6] x, float[1, 4, 6, 6] anchor) => (float[1, 4, 6, 6] y) {
        d = Conv (x, w)
        m = Transpose <perm = [0, 1, 2, 3]> (d)
        k = Mul (m, step)
        y = Add (k, anchor)
    }"""
    types = types_of(to_fp16(model_of(text, w=(4, 4, 1, 1), step=(1,))))
    assert [types[name] for name in "dm"] == ["fp16", "fp16"]
    assert [types[name] for name in ("m_fp32", "step", "k", "y")] == ["fp32"] * 4


def test_branch_that_is_float_keeps_its_sum_float() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
        a = Conv (x, w)
        e = Exp (x)
        s = Add (a, e)
        y = Conv (s, w)
    }"""
    types = types_of(to_fp16(model_of(text, w=(4, 4, 1, 1))))
    assert types["s"] == "fp32"
    assert types["s_fp16"] == "fp16"


def test_constant_beyond_half_keeps_its_node_float() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
        a = Conv (x, w)
        far = Constant <value = float {1e9}> ()
        s = Mul (a, far)
        y = Conv (s, w)
    }"""
    types = types_of(to_fp16(model_of(text, w=(4, 4, 1, 1))))
    assert types["s"] == "fp32"


def test_value_read_in_both_precisions_is_stored_twice() -> None:
    text = """g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) {
        a = Conv (x, w)
        e = Exp (w)
        f = Sigmoid (a)
        y = Conv (f, w)
        z = Add (e, w)
    }"""
    types = types_of(to_fp16(model_of(text, w=(4, 4, 1, 1))))
    assert types["w"] == "fp32"
    assert types["w_fp16"] == "fp16"


def test_pooled_regions_take_half_features_and_float_boxes() -> None:
    text = """g (float[1, 4, 6, 8] x, float[1, 5, 4] rois) => (float[5, 2, 3, 3] y) {
        f = Conv (x, w)
        p = maskrt.MaskrtRoiAlign <output_size = 3, spatial_scale = 1.0, sampling_ratio = 2>
            (f, rois)
        y = Conv (p, v)
    }"""
    model = add_functions(model_of(text, 0.5, w=(2, 4, 1, 1), v=(2, 2, 1, 1)))
    mixed = to_fp16(model)
    (node,) = [n for n in mixed.graph.node if n.op_type == "MaskrtRoiAlign"]
    assert list(node.input) == ["f", "rois"]
    assert types_of(mixed)["p"] == "fp16"
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.uniform(-1, 1, (1, 4, 6, 8)).astype(np.float32),
        "rois": np.sort(rng.uniform(0, 6, (1, 5, 2, 2)), 2).reshape(1, 5, 4).astype(np.float32),
    }
    (got,), (want,) = run(mixed, **feeds), run(model, **feeds)
    np.testing.assert_allclose(got, want, atol=8 * HALF_STEP * np.abs(want).max())


@with_exporter
def test_exported_network_puts_layers_in_half_and_decisions_in_float() -> None:
    model = exported()
    mixed = to_fp16(model)
    types = types_of(mixed)
    by_op: dict[str, set[str]] = {}
    for node in mixed.graph.node:
        by_op.setdefault(node.op_type, set()).add(types[node.output[0]])
    assert by_op["Conv"] | by_op["ConvTranspose"] | by_op["MaxPool"] | by_op["Relu"] == {"fp16"}
    assert by_op["TopK"] | by_op["Exp"] | by_op["Softmax"] | by_op["Sigmoid"] == {"fp32"}
    assert by_op["Sub"] | by_op["Div"] == {"fp32"}, "pixels are normalized in FP32"
    in_module = {bool(scope_of(n)): types[n.output[0]] for n in mixed.graph.node
                 if n.op_type == "MatMul"}  # fmt: skip
    assert in_module == {True: "fp16", False: "fp32"}, "suppression's products stay FP32"


@with_exporter
def test_exported_network_computes_nearly_the_same_in_half() -> None:
    model = exported()
    images = np.random.default_rng(5).integers(0, 256, (1, 16, 24, 3), np.uint8)
    got, want = run(to_fp16(model), images=images), run(model, images=images)
    for name, a, b in zip(("boxes", "scores", "masks"), got, want, strict=False):
        # Five layers in a row; each adds a rounding of weights and activations.
        np.testing.assert_allclose(a, b, atol=20 * HALF_STEP * np.abs(b).max(), err_msg=name)


@with_exporter
@pytest.mark.parametrize("keep", [(), ("backbone", "mask_head")], ids=["policy", "kept"])
def test_exported_network_builds_in_tensorrt_rtx(keep: tuple[str, ...]) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network()
    onnx_parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    mixed = inliner.inline_local_functions(to_fp16(exported(), keep))
    assert onnx_parser.parse(mixed.SerializeToString()), onnx_parser.get_error(0).desc()
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None


@with_exporter
def test_scopes_come_from_the_exporter() -> None:
    scopes = {scope_of(node) for node in exported().graph.node}
    assert {"", "backbone.0", "backbone.3", "rpn", "box_predictor", "mask_head"} <= scopes


@with_exporter
def test_kept_module_stays_float_with_everything_under_it() -> None:
    mixed = to_fp16(exported(), ["backbone"])
    types = types_of(mixed)
    for node in mixed.graph.node:
        if scope_of(node).startswith("backbone") and node.op_type != "Cast":
            assert types[node.output[0]] == "fp32"
    assert types["rpn.weight"] == "fp16"


@pytest.mark.parametrize("entry", ["c", "Conv"])
def test_node_names_and_operators_can_be_kept(entry: str) -> None:
    model = residual()
    model.graph.node[5].name = "c"
    assert types_of(to_fp16(model, [entry]))["c"] == "fp32"


@with_exporter
def test_kept_name_that_matches_nothing_is_refused_with_the_modules() -> None:
    with pytest.raises(ExportError, match=r"'bckbone' names no module.*backbone.*box_predictor"):
        to_fp16(exported(), ["bckbone"])


def test_weight_beyond_half_is_named() -> None:
    model = residual()
    values = numpy_helper.to_array(model.graph.initializer[1]).copy()
    values[0] = 7e4
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(values, "w2"))
    with pytest.raises(ExportError, match="weight 'w2': 70000 found; half reaches 65504"):
        to_fp16(model)


def test_values_too_small_for_half_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    model = model_of(RESIDUAL, 1e-9, w=(4, 4, 1, 1), w2=(4, 4, 1, 1))
    with caplog.at_level(logging.INFO):
        to_fp16(model)
    assert "32 of 32 stored values" in caplog.text


def test_control_flow_is_refused() -> None:
    text = """g (float[1] x, bool c) => (float[1] y) {
        y = If (c) <then_branch = t () => (float[1] a) { a = Relu (x) },
                    else_branch = e () => (float[1] b) { b = Exp (x) }>
    }"""
    with pytest.raises(ExportError, match="If with a subgraph found"):
        to_fp16(model_of(text))


def test_source_is_left_alone_and_result_is_valid() -> None:
    model = residual()
    before = model.SerializeToString()
    mixed = to_fp16(model)
    assert model.SerializeToString() == before
    checker.check_model(mixed, full_check=True)


def test_shares_are_of_nodes_and_of_macs() -> None:
    full, mixed = residual(), to_fp16(residual())
    assert (half_node_share(full), graph_macs(full).half_layer_share) == (0, 0)
    assert (half_node_share(mixed), graph_macs(mixed).half_layer_share) == (6 / 7, 1)
    kept = residual()
    kept.graph.node[0].name = "first"
    assert graph_macs(to_fp16(kept, ["first"])).half_layer_share == pytest.approx(2 / 3)


def test_policy_gives_every_operator_one_precision() -> None:
    # "weighted" lines share MatMul and Gemm with the line for computed products; nothing else may.
    seen = Counter(op for line in POLICY if line.when != "weighted" for op in line.op_types)
    assert set(seen.values()) == {1}
    assert not POLICY[-1].op_types, "the last line takes what is left"
    assert POLICY[-1].precision == "fp32"
    assert all(line.reason for line in POLICY)


def test_scope_of_a_wrapped_network_is_found_by_any_part_of_its_path() -> None:
    model = residual()
    for i, place in ((0, "model.backbone.stem"), (2, "model.backbone.res4"), (5, "model.rpn")):
        chain = f": pkg.Deploy/{place}: torch.nn.modules.conv.Conv2d/conv2d: aten.conv2d.default"
        model.graph.node[i].metadata_props.add(key="namespace", value=chain)
    kept = types_of(to_fp16(model, ["backbone.res4"]))
    assert [kept[name] for name in "abc"] == ["fp16", "fp32", "fp16"]
    kept = types_of(to_fp16(model, ["backbone"]))
    assert [kept[name] for name in "abc"] == ["fp32", "fp32", "fp16"]
