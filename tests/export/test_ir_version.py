from __future__ import annotations

import onnx
import pytest
from onnx.parser import parse_model

from maskrt.export.ir_version import lowest_ir_version

from .conftest import Exported

BODY = "g (float[1] x) => (float[1] y) { y = Relu (x) }"
FUNCTION = '< opset_import: ["" : 13], domain: "maskrt" > Twice (X) => (Y) { Y = Add (X, X) }'


@pytest.mark.parametrize(
    ("opset", "function", "lowest"),
    [(13, "", 7), (13, FUNCTION, 8), (17, "", 8), (18, FUNCTION, 8), (19, "", 9), (21, "", 10)],
    ids=["opset 13", "with a function", "17", "18 with a function", "float 8", "int 4"],
)
def test_operators_and_functions_decide(opset: int, function: str, lowest: int) -> None:
    head = f'<ir_version: 10, opset_import: ["" : {opset}, "maskrt" : 1]>'
    assert lowest_ir_version(parse_model(f"{head} {BODY} {function}")) == lowest


@pytest.mark.parametrize("name", ["lsc", "fastmask"])
def test_exported_files_open_in_onnx_runtime_1_16(
    name: str, request: pytest.FixtureRequest
) -> None:
    """It reads IR 9 at most; `python -m maskrt.tools.try_runtimes` opens files in it."""
    network: Exported = request.getfixturevalue(name)
    for report in (network.fp32, network.fp16):
        model = onnx.load(report.path)
        assert model.ir_version == 8
        assert any(node.metadata_props for node in model.graph.node), "module paths are kept"
