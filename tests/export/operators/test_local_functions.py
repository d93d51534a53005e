"""What bare nodes of our domain get, so that they run anywhere."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from maskrt.engines.kernels.reference import roi_align
from maskrt.export.operators.domain import DOMAIN
from maskrt.export.operators.local_functions import add_functions
from maskrt.export.operators.roi_align import ROI_ALIGN, roi_align_nodes
from maskrt.export.operators.window_align import WINDOW_ALIGN
from maskrt.runtime.errors import ExportError

from .conftest import bare_call, random_boxes, random_map, run

# The roundings of test_roi_align.py.
FP32_TOLERANCE = 1e-5


def one_call(op_type: str = ROI_ALIGN) -> onnx.ModelProto:
    """A bare node that carries the three attributes the exporter knows."""
    model = bare_call(random_map(), random_boxes(4), (14, 0.0625, 2, 1), op_type=op_type)
    (node,) = model.graph.node
    kept = [attribute for attribute in node.attribute if attribute.name != "bin_step"]
    del node.attribute[:]
    node.attribute.extend(kept)
    return model


def test_every_call_carries_what_the_plugin_reads() -> None:
    model = one_call()
    (node,) = roi_align_nodes(add_functions(model))
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert found == {
        "output_size": 14,
        "sampling_ratio": 2,
        "spatial_scale": 0.0625,
        "bin_step": 1,
        "cfg": b"oh=14;ow=14;sr=2;step=1;scale=0.0625;aligned=1",
        "plugin_namespace": b"maskrt",
        "plugin_version": b"1",
        "aot": 1,
    }
    assert len(model.graph.node[0].attribute) == 3, "the model that was given is left alone"


def test_one_function_serves_calls_with_different_attributes() -> None:
    x, rois = random_map(), random_boxes(4)
    model = bare_call(x, rois, (7, 0.25, 2, 1))
    other = bare_call(x, rois, (2, 0.5, 1, 1))
    (node,) = other.graph.node
    node.name = "other"
    node.output[0] = other.graph.output[0].name = "Z"
    model.graph.node.extend(other.graph.node)
    model.graph.output.extend(other.graph.output)
    ready = add_functions(model)
    assert [f.name for f in ready.functions] == [ROI_ALIGN]
    y, z = run(ready, x, rois)
    np.testing.assert_allclose(y, roi_align(x, rois, 7, 0.25, 2), atol=FP32_TOLERANCE)
    np.testing.assert_allclose(z, roi_align(x, rois, 2, 0.5, 1), atol=FP32_TOLERANCE)


def test_one_file_may_call_both_operators() -> None:
    model = one_call()
    windows = helper.make_node(
        WINDOW_ALIGN, ["P", "index"], ["W"], domain=DOMAIN, size=10, spatial_shapes=[7, 9]
    )
    model.graph.node.append(windows)
    both = add_functions(model)
    assert [f.name for f in both.functions] == [ROI_ALIGN, WINDOW_ALIGN]
    assert add_functions(both) == both, "adding twice changes nothing"


def test_model_without_our_nodes_is_returned_unchanged() -> None:
    plain = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) { y = Relu(x) }'
    )
    assert add_functions(plain) == plain


def test_unknown_operator_of_the_domain_is_refused() -> None:
    with pytest.raises(ExportError, match="maskrt::Other found; expected MaskrtRoiAlign"):
        add_functions(one_call("Other"))


@pytest.mark.parametrize(
    ("op_type", "missing"), [(ROI_ALIGN, "spatial_scale"), (WINDOW_ALIGN, "spatial_shapes")]
)
def test_a_missing_attribute_is_named(op_type: str, missing: str) -> None:
    sizes = {"output_size": 7, "sampling_ratio": 2, "size": 10}
    node = helper.make_node(op_type, ["X", "second"], ["Y"], "align", domain=DOMAIN, **sizes)
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([node], "one", [x], []))
    with pytest.raises(ExportError, match=rf"node 'align': {missing} missing; .* {op_type}"):
        add_functions(model)
