"""What `maskrt inspect` says of a file, against counts made in another way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.train.cost import mask_rcnn_cost
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.weights.checkpoint import load_checkpoint, new_checkpoint
from maskrt.workflows.inspection import inspect_file

Inspect = Callable[[Path], tuple[dict[str, Any], str]]


@pytest.fixture
def inspect(maskrt: Callable[..., Any]) -> Inspect:
    """The facts as the command's JSON, and its text."""

    def run(path: Path) -> tuple[dict[str, Any], str]:
        ran = maskrt("inspect", path, "--json")
        assert ran.code == 0, ran.err
        return ran.json, ran.out

    return run


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_framework_1_has_the_papers_parameters_and_macs(inspect: Inspect, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    new_checkpoint(load_recipe("lsc_mask_rcnn_r50_512"), path)
    facts, text = inspect(path)
    assert facts["parameters"] / 1e6 == pytest.approx(22.09, abs=0.01)
    assert "22.09 M without norms" in text
    # Counted apart from this code by closed formulas over layer shapes.
    assert facts["macs"]["300"]["total"] / 1e9 == pytest.approx(249.8, rel=0.01)
    assert facts["macs"]["1000"]["total"] / 1e9 == pytest.approx(493.1, rel=0.01)
    assert facts["macs"]["1000"]["separable"] / 1e9 == pytest.approx(36.9, rel=0.01)
    row = next(line for line in text.splitlines() if "1000 RoIs" in line)
    assert float(row.split()[-1]) == pytest.approx(493.1, rel=0.01)
    assert len(row.split()) == 2 + 6  # "1000 RoIs", five parts and their total


def test_a_checkpoint_says_where_it_comes_from(inspect: Inspect, chain: Any) -> None:
    facts, text = inspect(chain.checkpoint)
    assert facts["kind"] == "checkpoint"
    assert facts["sha256"] == sha256(chain.checkpoint)
    assert (facts["recipe"], facts["steps"]) == ("lsc_mask_rcnn_tiny", 0)
    assert len(facts["class_names"]) == 10
    assert facts["measured"] == {}
    assert "checkpoint of lsc_mask_rcnn_tiny, untrained" in text
    assert "not measured" in text
    for part in ("backbone", "separable", "rpn", "box_branch", "mask_branch"):
        assert facts["macs"]["300"][part] > 0


def test_measured_accuracy_is_shown(inspect: Inspect, chain: Any, tmp_path: Path) -> None:
    from maskrt.train.weights.checkpoint import save_checkpoint

    path = tmp_path / "measured.safetensors"
    measured = {"box_ap": 51.24, "mask_ap": 44.0}
    save_checkpoint(path, load_checkpoint(chain.checkpoint).model, steps=7, measured=measured)
    facts, text = inspect(path)
    assert facts["measured"] == measured
    assert "box AP 51.2, mask AP 44.0" in text
    assert "trained for 7 steps" in text


def test_an_onnx_file_is_counted(inspect: Inspect, chain: Any) -> None:
    facts, text = inspect(chain.onnx)
    graph = onnx.load(chain.onnx).graph
    assert facts["kind"] == "onnx"
    assert facts["sha256"] == sha256(chain.onnx)
    assert facts["nodes"] == dict(Counter(node.op_type for node in graph.node))
    assert facts["functions"] == ["MaskrtRoiAlign"]
    assert facts["opsets"] == {"ai.onnx": 18, "maskrt": 1}
    assert facts["contract"]["canvas_hw"] == [64, 64]
    assert facts["contract"]["checkpoint_sha256"] == sha256(chain.checkpoint)
    assert facts["macs"] > facts["layer_macs"] > 0
    assert "canvas     64x64, batch 1" in text
    most, count = Counter(node.op_type for node in graph.node).most_common(1)[0]
    assert f"nodes      {len(graph.node)}: {most} {count}, " in text


def test_the_exported_layers_are_the_checkpoints(inspect: Inspect, chain: Any) -> None:
    facts, _ = inspect(chain.onnx)
    model = load_checkpoint(chain.checkpoint).model
    cost = mask_rcnn_cost(model.recipe, (64, 64), rois=16, detections=8)
    # A detection's mask is computed for its own class only: a product with weights picked at run
    # time, which counts as no layer. The network's form computes a channel of every class.
    classes, slots, cells = len(model.recipe.class_names), 8, (2 * 14) ** 2
    picked = classes * model.recipe.model.mask_channels * slots * cells
    assert facts["layer_macs"] == cost.total - picked


def test_precision_is_read_from_the_file(inspect: Inspect, chain: Any) -> None:
    single, _ = inspect(chain.onnx)
    half, text = inspect(chain.onnx_fp16)
    assert single["fp16_mac_share"] == single["fp16_node_share"] == 0
    assert half["fp16_mac_share"] > 0.99
    assert 0 < half["fp16_node_share"] < 1
    assert half["parameters"] == single["parameters"]
    assert half["layer_macs"] == single["layer_macs"]
    assert "ONNX of lsc_mask_rcnn_tiny, fp16" in text


def test_an_engine_says_what_it_was_made_from(inspect: Inspect, chain: Any) -> None:
    facts, text = inspect(chain.engine)
    assert facts["kind"] == "engine"
    assert facts["fingerprint"]["onnx_sha256"] == sha256(chain.onnx_fp16)
    assert facts["fingerprint"]["engine_sha256"] == sha256(chain.engine)
    assert facts["fingerprint"]["runtime"] == "tensorrt-rtx"
    assert facts["contract"] == inspect(chain.onnx_fp16)[0]["contract"]
    network = facts["build"]["network"]
    assert f"{network['layer_count']} layers; " in text
    assert network["fp16_mac_share"] > 0.9
    assert f"{network['fp16_layer_share']:.1%} of layers, " in text
    assert f"{network['fp16_mac_share']:.1%} of MACs in FP16" in text
    # Without a GPU the reason stands where the engine's own layers would.
    layers = facts["engine_layers"]
    assert isinstance(layers, dict) or layers.startswith("engine layers not read: ")
    assert isinstance(layers, dict) or f"engine     {layers}" in text
    assert f"command    maskrt build {chain.onnx_fp16}" in text


@pytest.mark.skipif(missing_device() is None, reason="with a GPU the layers are read anew")
def test_shares_that_the_build_read_from_the_engine_are_printed(
    inspect: Inspect, chain: Any, tmp_path: Path
) -> None:
    engine = tmp_path / "a.engine"
    engine.write_bytes(chain.engine.read_bytes())
    sidecar = json.loads(Path(f"{chain.engine}.json").read_text())
    sidecar["build"]["engine"] = {
        **sidecar["build"]["network"],
        "layer_count": 7,
        "fp16_layer_share": 0.5,
        "fp16_mac_share": 0.25,
    }
    Path(f"{engine}.json").write_text(json.dumps(sidecar))
    facts, text = inspect(engine)
    assert "engine     7 layers; 50.0% of layers, 25.0% of MACs in FP16" in text
    assert facts["engine_layers"]["layer_count"] == 7


def test_where_else_an_engine_runs_and_where_its_weights_are_is_printed(
    inspect: Inspect, chain: Any, tmp_path: Path
) -> None:
    version = json.loads(Path(f"{chain.engine}.json").read_text())["fingerprint"]
    text = inspect(chain.engine)[1]
    assert f"runs on    any RTX GPU, tensorrt-rtx {version['tensorrt_version']}\n" in text
    assert "holds      its weights\n" in text
    engine = tmp_path / "a.engine"
    engine.write_bytes(chain.engine.read_bytes())
    sidecar = json.loads(Path(f"{chain.engine}.json").read_text())
    sidecar["fingerprint"] |= {
        "runtime": "tensorrt",
        "tensorrt_version": "10.16.1",
        "options": {"hardware_compatible": "ampere-plus", "version_compatible": True},
        "weights_sha256": {"../x.onnx": "0"},
    }
    Path(f"{engine}.json").write_text(json.dumps(sidecar))
    text = inspect(engine)[1]
    assert "compute capability 8.0 and later, tensorrt 10.16.1 and later, lean ones too\n" in text
    assert "holds      no weights: they are in ../x.onnx\n" in text


def test_an_engine_of_other_bytes_is_refused(chain: Any, tmp_path: Path) -> None:
    engine = tmp_path / "a.engine"
    engine.write_bytes(chain.engine.read_bytes() + b"\0")
    Path(f"{engine}.json").write_bytes(Path(f"{chain.engine}.json").read_bytes())
    with pytest.raises(SessionError, match="is not the engine its sidecar describes"):
        inspect_file(engine)


def test_a_file_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"pickle")
    expected = r"suffix '\.pkl' is not a model; expected \.safetensors or \.onnx"
    with pytest.raises(InputError, match=expected):
        inspect_file(path)
