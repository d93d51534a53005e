"""Multiply-accumulates against hand-counted ones."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper, parser

from maskrt.export.macs import graph_macs
from maskrt.export.operators.local_functions import add_functions
from maskrt.runtime.errors import ExportError

HEADER = '<ir_version: 8, opset_import: ["" : 17, "maskrt" : 1]>'


def model_of(text: str, **weights: tuple[int, ...]) -> onnx.ModelProto:
    model = parser.parse_model(HEADER + text)
    for name, shape in weights.items():
        tensor = numpy_helper.from_array(np.zeros(shape, np.float32), name)
        model.graph.initializer.append(tensor)
    return model


def test_convolution_counts_every_output_times_its_taps() -> None:
    text = """g (float[2, 6, 10, 12] x) => (float[2, 8, 5, 6] y)
        { y = Conv <group = 2, strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b) }"""
    (node,) = graph_macs(model_of(text, w=(8, 3, 3, 3), b=(8,))).nodes
    assert node.macs == (2 * 8 * 5 * 6) * (3 * 3 * 3)
    assert node.parameters == 8 * 3 * 3 * 3 + 8
    assert node.output_shape == (2, 8, 5, 6)
    assert node.weighted
    assert node.precision == "fp32"


def test_transposed_convolution_counts_every_input_times_its_taps() -> None:
    text = """g (float[1, 6, 7, 7] x) => (float[1, 4, 14, 14] y)
        { y = ConvTranspose <strides = [2, 2]> (x, w) }"""
    cost = graph_macs(model_of(text, w=(6, 4, 2, 2)))
    assert cost.macs == (6 * 7 * 7) * (4 * 2 * 2)
    assert cost.parameters == 6 * 4 * 2 * 2


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_counts_the_contracted_side(transposed: int) -> None:
    shape = "7, 5" if transposed else "5, 7"
    text = f"""g (float[{shape}] x) => (float[5, 3] y)
        {{ y = Gemm <transA = {transposed}> (x, w, b) }}"""
    cost = graph_macs(model_of(text, w=(7, 3), b=(3,)))
    assert cost.macs == 5 * 7 * 3
    assert cost.parameters == 7 * 3 + 3


def test_products_of_computed_tensors_are_no_layers() -> None:
    text = """g (float[2, 4, 5] x) => (float[2, 4, 4] y)
        { t = Transpose <perm = [0, 2, 1]> (x)
          y = MatMul (x, t) }"""
    cost = graph_macs(model_of(text))
    assert cost.macs == 2 * 4 * 5 * 4
    assert cost.layer_macs == 0
    assert cost.parameters == 0


def test_shared_weight_is_one_set_of_parameters() -> None:
    text = """g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
        { a = Conv (x, w)
          y = Conv (a, w) }"""
    cost = graph_macs(model_of(text, w=(2, 2, 1, 1)))
    assert cost.parameters == 4
    assert cost.layer_macs == 2 * 4 * 16


def test_operator_body_counts_apart_from_layers() -> None:
    text = """g (float[1, 4, 6, 8] x, float[1, 5, 4] rois) => (float[5, 2, 3, 3] y)
        { f = Conv (x, w)
          y = maskrt.MaskrtRoiAlign <output_size = 3, spatial_scale = 1.0, sampling_ratio = 2>
              (f, rois) }"""
    cost = graph_macs(add_functions(model_of(text, w=(2, 4, 1, 1))))
    assert cost.layer_macs == 2 * 4 * 6 * 8
    body = 5 * 3 * 8 * (2 * 6) + 5 * (3 * 2) * 6 * 3
    assert cost.macs - cost.layer_macs == body


@pytest.mark.parametrize(
    ("kind", "both", "precision"),
    [("int8", True, "int8"), ("uint8", True, "int8"), ("float8e4m3fn", True, "fp8"),
     ("int8", False, "fp16")],
)  # fmt: skip
def test_a_product_is_what_both_its_factors_were_stored_in(
    kind: str, both: bool, precision: str
) -> None:
    text = f"""g ({kind}[2, 6] a, {kind}[2, 3, 4] b, float16[6, 2] d, float16 s)
        => (float16[2, 2] y)
        {{ da = DequantizeLinear (a, s)
          db = DequantizeLinear (b, s)
          flat = Reshape (db, rows)
          half = Cast <to = 10> (flat)
          y = MatMul (da, {"half" if both else "d"}) }}"""
    model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 19]>' + text)
    model.graph.initializer.append(numpy_helper.from_array(np.array([6, -1]), "rows"))
    cost = graph_macs(model)
    assert [node.precision for node in cost.nodes] == [precision]
    assert cost.share_of(precision) == 1


@pytest.mark.filterwarnings("ignore")  # torch's exporter warns about its own internals
def test_exported_torch_module_has_its_parameters_and_macs() -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(8 * 36, 5),
    ).eval()  # fmt: skip
    program = torch.onnx.export(
        module, (torch.zeros(2, 3, 6, 6),), dynamo=True, opset_version=18, verbose=False
    )
    cost = graph_macs(program.model_proto)
    assert cost.parameters == sum(p.numel() for p in module.parameters())
    assert cost.layer_macs == 2 * (8 * 36 * 27 + 8 * 36 * 5)


def test_unknown_shape_is_refused_with_the_node() -> None:
    text = """g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) { y = Conv (x, w) }"""
    with pytest.raises(ExportError, match="node 'y': the shape of 'y' is not static"):
        graph_macs(model_of(text, w=(2, 2, 1, 1)))
