"""`MaskrtWindowAlign` in ONNX Runtime against the torch operator, and as TensorRT-RTX reads it."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from maskrt.export.operators.domain import DOMAIN
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.operators.window_align import WINDOW_ALIGN, window_align_attributes
from maskrt.runtime.errors import ExportError
from maskrt.train.networks.windows import window_align, window_count

LEVELS = [(7, 9), (3, 5), (1, 1)]
CELLS = sum(h * w for h, w in LEVELS)
SHAPES = [side for level in LEVELS for side in level]


def model(batch: int, slots: int, channels: int, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """One bare node, completed as an export completes it."""
    node = helper.make_node(
        WINDOW_ALIGN,
        ["X", "index"],
        ["Y"],
        "windows",
        domain=DOMAIN,
        size=10,
        spatial_shapes=SHAPES,
    )
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info("X", kind, [batch, CELLS, channels]),
            helper.make_tensor_value_info("index", TensorProto.INT64, [batch, slots]),
        ],
        [helper.make_tensor_value_info("Y", kind, [batch * slots, 10, 10, channels])],
    )
    bare = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return add_functions(bare)


@pytest.mark.parametrize(("dtype", "batch"), [(np.float32, 2), (np.float16, 1)])
def test_every_window_is_exact_in_onnx_runtime(batch: int, dtype: type) -> None:
    rng = np.random.default_rng(batch)
    count = window_count(LEVELS)
    index = np.stack([rng.permutation(count) for _ in range(batch)])
    pyramid = rng.standard_normal((batch, CELLS, 4)).astype(dtype)
    kind = TensorProto.FLOAT if dtype == np.float32 else TensorProto.FLOAT16
    one = model(batch, count, 4, kind)
    onnx.checker.check_model(one, full_check=True)
    session = onnxruntime.InferenceSession(
        one.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"X": pyramid, "index": index})
    wanted = window_align(torch.from_numpy(pyramid), torch.from_numpy(index), LEVELS)
    assert found.dtype == dtype
    assert np.array_equal(found, wanted.numpy())


def test_a_single_window_of_a_single_picture() -> None:
    session = onnxruntime.InferenceSession(
        model(1, 1, 2).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pyramid = np.ones((1, CELLS, 2), np.float32)
    (last,) = session.run(None, {"X": pyramid, "index": np.array([[window_count(LEVELS) - 1]])})
    # the last window of a 1 x 1 level sees its only cell at row 4, column 4
    assert last[0, :, :, 0].sum() == 1
    assert last[0, 4, 4, 0] == 1


def test_a_node_carries_what_body_and_plugins_read() -> None:
    attributes = window_align_attributes(10, SHAPES)
    assert attributes["cfg"] == "size=10;shapes=7x9,3x5,1x1"
    assert attributes["table"] == [80, 0, 0, 7, 9, 104, 80, 63, 3, 5, 108, 104, 78, 1, 1]
    node = model(1, 3, 2).graph.node[0]
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert found["plugin_namespace"] == b"maskrt"
    assert list(found["table"]) == attributes["table"]


@pytest.mark.parametrize(("size", "shapes"), [(9, [2, 2]), (10, [2]), (10, []), (10, [0, 3])])
def test_impossible_attributes_are_refused(size: int, shapes: list[int]) -> None:
    with pytest.raises(ExportError, match="expected an even size"):
        window_align_attributes(size, shapes)


@pytest.mark.parametrize(("kind", "batch"), [(TensorProto.FLOAT, 2), (TensorProto.FLOAT16, 1)])
def test_tensorrt_rtx_builds_the_body(batch: int, kind: int) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    inlined = onnx.inliner.inline_local_functions(model(batch, 6, 8, kind))
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(inlined.SerializeToString()), parser.get_error(0).desc()
    assert tuple(network.get_output(0).shape) == (batch * 6, 10, 10, 8)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is not None
