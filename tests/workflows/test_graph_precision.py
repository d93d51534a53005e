"""The gate of a file follows from its graph, whatever the file says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from maskrt.export.macs import graph_macs
from maskrt.runtime.contract import METADATA_KEY
from maskrt.runtime.sidecar import sidecar_path
from maskrt.workflows.graph_precision import graph_precision, precision_maps


def test_a_graph_is_what_it_computes_in(chain: Any) -> None:
    found = [graph_precision(path) for path in (chain.checkpoint, chain.onnx, chain.onnx_fp16)]
    assert found == ["fp32", "fp32", "fp16"]
    assert graph_precision(chain.engine) == "fp16"


def test_a_map_counts_what_its_file_multiplies(chain: Any) -> None:
    files = [chain.checkpoint, chain.onnx, chain.onnx_fp16, chain.engine, chain.onnx_fp16]
    (found,) = precision_maps(files)
    assert found.name == chain.onnx_fp16.name
    cost = graph_macs(onnx.load(chain.onnx_fp16))
    assert found.whole.total == cost.macs
    assert found.whole.macs["fp16"] >= cost.half_layer_macs > 0
    assert any(module.name.startswith("model.backbone") for module in found.modules)


def test_a_quantized_graph_is_int8(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "agraph (float[2] x) => (float[2] y) <float s = {0.1}> {"
        "q = QuantizeLinear(x, s)\n y = DequantizeLinear(q, s) }"
    )
    onnx.save(model, tmp_path / "q.onnx")
    assert graph_precision(tmp_path / "q.onnx") == "int8"
    kinds = onnx.TensorProto
    model.graph.initializer.append(onnx.helper.make_tensor("z", kinds.FLOAT8E4M3FN, [], [0]))
    onnx.save(model, tmp_path / "q.onnx")
    assert graph_precision(tmp_path / "q.onnx") == "fp8"


@pytest.mark.parametrize("claimed", ["fp32", "fp16", "int8", "fp8"])
def test_what_a_contract_claims_changes_no_gate(chain: Any, tmp_path: Path, claimed: str) -> None:
    model = onnx.load(chain.onnx)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = json.dumps({**json.loads(entry.value), "precision": claimed})
    copy = tmp_path / "claims.onnx"
    onnx.save(model, copy)
    assert graph_precision(copy) == "fp32"


def test_an_engine_without_its_network_has_the_strictest_gate(chain: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy.engine"
    sidecar = json.loads(sidecar_path(chain.engine).read_text())
    for layers, precision in (
        (None, "fp32"),
        ([["a", "CONVOLUTION", "float32", 0, []]], "fp32"),
        ([["a", "QUANTIZE", "float16", 0, []]], "int8"),
        ([["a", "QUANTIZE", "float16", 0, []], ["b", "CONVOLUTION", "fp8", 1, []]], "fp8"),
    ):
        network = {**sidecar["build"]["network"], "layers": layers}
        build = {**sidecar["build"], "network": network}
        if layers is None:
            del build["network"]
        sidecar_path(copy).write_text(json.dumps({**sidecar, "build": build}))
        assert graph_precision(copy) == precision
