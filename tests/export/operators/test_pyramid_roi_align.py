"""The body of `MaskrtPyramidRoiAlign`: what it is made of, who reads it, what is refused.

That it computes what the specification says is in tests/engines/kernels/test_pyramid_kernels.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, checker, helper, inliner

from maskrt.export import torch_graph
from maskrt.export.operators.domain import DOMAIN
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.operators.pyramid_roi_align import (
    PYRAMID_ROI_ALIGN,
    pyramid_roi_align_attributes,
    pyramid_roi_align_function,
)
from maskrt.runtime.errors import ExportError
from maskrt.train.networks.pyramid.roi_align import maps_of, pyramid_roi_align_operator

SHAPES, STRIDES, BORDERS = [20, 31, 10, 16], [4, 8], [784.0]
ATLAS = [2, 3, 31, 31]


def call(samples: int, opset: int = 18, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """One bare node of two pictures' 6 boxes, completed as an export completes it."""
    said = {"spatial_shapes": SHAPES, "strides": STRIDES, "borders": BORDERS, "aligned": 1}
    node = helper.make_node(
        PYRAMID_ROI_ALIGN, ["X", "rois"], ["Y"], "pool", domain=DOMAIN,
        output_size=7, sampling_ratio=samples, **said,
    )  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("X", kind, ATLAS),
        helper.make_tensor_value_info("rois", TensorProto.FLOAT, [2, 6, 4]),
    ]
    outputs = [helper.make_tensor_value_info("Y", kind, [12, 3, 7, 7])]
    graph = helper.make_graph([node], "one call", inputs, outputs)
    opsets = [helper.make_opsetid("", opset)]
    return add_functions(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (2, 6, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (2, 6, 2))], 2)
    atlas = rng.uniform(-1, 1, ATLAS)
    return {"X": atlas.astype(np.float32), "rois": boxes.astype(np.float32)}


def run(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs())[0])


@pytest.mark.parametrize("opset", [17, 19])
@pytest.mark.parametrize("samples", [2, 0])
def test_an_inlined_body_passes_the_checker_and_computes_the_same(samples: int, opset: int) -> None:
    model = call(samples, opset)
    checker.check_model(model, full_check=True)
    flat = inliner.inline_local_functions(model)
    checker.check_model(flat, full_check=True)
    operators = [node.op_type for node in flat.graph.node]
    assert operators.count("Loop") == (samples == 0)
    assert operators.count("GridSample") == (samples > 0)
    assert {node.domain for node in flat.graph.node} == {""}
    np.testing.assert_array_equal(run(flat), run(model))


def test_one_function_serves_fixed_and_adaptive_calls_together() -> None:
    model, other = call(2), call(0)
    (node,) = other.graph.node
    node.name, node.output[0], other.graph.output[0].name = "other", "Z", "Z"
    both = onnx.ModelProto()
    both.CopyFrom(model)
    del both.functions[:]
    both.graph.node.append(node)
    both.graph.output.append(other.graph.output[0])
    both = add_functions(both)
    assert [function.name for function in both.functions] == [PYRAMID_ROI_ALIGN]
    session = ort.InferenceSession(both.SerializeToString(), providers=["CPUExecutionProvider"])
    fixed, adaptive = session.run(None, inputs())
    np.testing.assert_allclose(fixed, run(model), atol=1e-6)
    np.testing.assert_array_equal(adaptive, run(call(0)))


@pytest.mark.parametrize(
    ("samples", "kind"),
    [(0, TensorProto.FLOAT), (2, TensorProto.FLOAT16)],
    ids=["fp32 adaptive", "fp16 fixed"],
)
def test_an_inlined_body_builds_in_tensorrt_rtx(samples: int, kind: int) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    flat = inliner.inline_local_functions(call(samples, kind=kind))
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(flat.SerializeToString()), parser.get_error(0).desc()
    half = kind == TensorProto.FLOAT16
    assert network.get_output(0).dtype == (trt.float16 if half else trt.float32)
    assert tuple(network.get_output(0).shape) == (12, 3, 7, 7)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None


class Pooled(torch.nn.Module):
    """Two levels of one picture pooled by the operator of deploy forms."""

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        how: tuple[Any, ...] = (7, STRIDES, 2, BORDERS)
        return pyramid_roi_align_operator([fine, coarse], rois, *how, aligned=False)


@pytest.mark.filterwarnings("ignore")  # deprecations inside torch's own exporter
def test_torch_exports_the_operator_as_one_node() -> None:
    given = inputs()
    arguments = (
        *maps_of(torch.tensor(given["X"]), [(20, 31), (10, 16)]),
        torch.tensor(given["rois"]),
    )
    translations = {torch.ops.maskrt.pyramid_roi_align.default: torch_graph._pyramid_roi_align_node}
    program = torch.onnx.export(
        Pooled().eval(),
        arguments,
        dynamo=True,
        opset_version=18,
        verbose=False,
        custom_translation_table=translations,
    )
    assert program is not None
    bare = program.model_proto
    assert [node.op_type for node in bare.graph.node].count(PYRAMID_ROI_ALIGN) == 1
    model = add_functions(bare)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.input]
    found = session.run(None, {n: a.numpy() for n, a in zip(names, arguments, strict=True)})[0]
    np.testing.assert_allclose(found, Pooled()(*arguments).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        (0, 2, 1, SHAPES, STRIDES, BORDERS),
        (7, -1, 1, SHAPES, STRIDES, BORDERS),
        (7, 2, 2, SHAPES, STRIDES, BORDERS),
        (7, 2, 1, SHAPES[:3], STRIDES, BORDERS),
        (7, 2, 1, SHAPES, [4, 0], BORDERS),
        (7, 2, 1, SHAPES[:2], [4], []),
        (7, 2, 1, [*SHAPES, 5, 8], [4, 8, 16], [784.0, 196.0]),
    ],
)
def test_impossible_attributes_are_refused(bad: Any) -> None:
    with pytest.raises(ExportError, match="expected sizes of at least 1"):
        pyramid_roi_align_attributes(*bad)


def test_opsets_that_the_body_is_not_written_for_are_refused() -> None:
    for opset in (16, 20):
        with pytest.raises(ExportError, match=f"opset {opset} found; expected 17 to 19"):
            pyramid_roi_align_function(opset)
