"""Networks of both families through export; three of them through a real TensorRT-RTX build."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from maskrt.engines.builder import build_engine
from maskrt.export.macs import graph_macs
from maskrt.export.precision.fp16 import to_fp16
from maskrt.export.rules.exact_rules import Outcome, apply_rules
from maskrt.export.to_onnx import export
from maskrt.export.torch_graph import onnx_from_torch
from maskrt.runtime.contract import METADATA_KEY
from maskrt.runtime.errors import InputError
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.train.deploy.deployment import Shapes, deploy
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.torch_session import TorchSession
from maskrt.train.weights.checkpoint import load_checkpoint, new_checkpoint

from .conftest import LSC, Exported, MakeCheckpoint

# What Tables I to III of the paper vary beside widths, which are cut to a sixteenth: 64 -> 4.
ROWS = {
    "separable and C5": ("model.separable_channels=4", "model.subnet=c5"),
    "pooling 14": (
        "model.separable_channels=8", "model.subnet_channels=16", "model.pooling=14",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["baseline", "lsc", "fastmask"])
def test_a_network_builds(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    network: Exported = request.getfixturevalue(name)
    build = build_engine(network.fp16.path, tmp_path / "x.engine", progress=False)
    assert build.network.fp16_mac_share > 0.9
    assert build.contract == network.fp16.contract
    assert build.contract.precision == "fp16"


@pytest.mark.parametrize("row", ROWS)
def test_every_row_exports(row: str, lively: MakeCheckpoint, tmp_path: Path) -> None:
    paths = {"fp32": tmp_path / "a.onnx", "fp16": tmp_path / "b.onnx"}
    picture = np.random.default_rng(2).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    for report in export(lively(LSC, *ROWS[row]), paths, pictures=[picture]):
        assert report.verification.asked > 0
        assert report.contract.operators == ("MaskrtRoiAlign",)
    assert graph_macs(onnx.load(paths["fp16"])).half_layer_share > 0.9


def test_shapes_options_become_static_outputs(lsc: Exported) -> None:
    model = onnx.load(lsc.fp32.path)
    dims = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}
    assert dims == {
        "boxes": [2, 7, 4],
        "scores": [2, 7],
        "labels": [2, 7],
        "masks": [2, 7, 28, 28],
        "counts": [2],
    }
    assert METADATA_KEY in {p.key for p in model.metadata_props}
    assert [f.name for f in model.functions] == ["MaskrtRoiAlign"]
    forbidden = {"NonZero", "NonMaxSuppression", "If", "Loop"}
    assert not forbidden & {node.op_type for node in model.graph.node}


def test_light_subnet_leaves_every_rule_out(lsc: Exported) -> None:
    model = onnx.load(lsc.fp32.path)
    _, outcomes = apply_rules(model)
    reason = "model.subnet.conv1 is a 3x3 convolution and mixes bins"
    assert outcomes == (Outcome("even_bins", 0, (reason,)),)


def test_no_path_of_the_exporting_machine_is_in_the_file(lsc: Exported) -> None:
    assert str(Path(__file__).parents[2]).encode() not in lsc.fp32.path.read_bytes()


def test_pixels_and_boxes_outside_the_valid_region_do_not_count(
    lsc: Exported,
) -> None:
    session = OrtSession(lsc.fp32.path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    sizes = np.array([[40, 64], [96, 30]], np.int32)
    first = session.run(images, sizes)
    assert first["counts"].min() > 0
    for image, (height, width) in enumerate(sizes):
        assert first["boxes"][image, :, [0, 2]].max() <= width
        assert first["boxes"][image, :, [1, 3]].max() <= height
    images[0, 40:], images[1, :, 30:] = 255, 255
    second = session.run(images, sizes)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    session.close()


def test_torch_and_onnxruntime_agree_slot_by_slot(lsc: Exported) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    sizes = np.array([[96, 64], [80, 64]], np.int32)
    onnx_session = OrtSession(lsc.fp32.path)
    wanted = TorchSession(lsc.checkpoint, lsc.shapes).run(images, sizes)
    found = onnx_session.run(images, sizes)
    onnx_session.close()
    np.testing.assert_array_equal(wanted["labels"], found["labels"])
    for name in ("boxes", "scores", "masks"):  # FP32 sums in another order
        np.testing.assert_allclose(wanted[name], found[name], atol=2e-3)


def test_impossible_requests_are_refused_before_any_work(tmp_path: Path) -> None:
    absent = tmp_path / "absent.safetensors"
    with pytest.raises(InputError, match=r"an export ends in \.onnx; found '\.engine'"):
        export(absent, {"fp32": tmp_path / "x.engine"})
    with pytest.raises(InputError, match="calibration: no pictures found"):
        export(absent, {"int8": tmp_path / "x.onnx"})
    with pytest.raises(InputError, match="--rules: 'fuse' found"):
        export(absent, {"fp32": tmp_path / "x.onnx"}, rules=("fuse",))


@pytest.mark.slow
def test_full_size_framework_1_builds_in_fp16(tmp_path: Path) -> None:
    """The sizes that narrow networks leave out: TopK's limit, real widths, a thousand proposals.

    That torch and ONNX Runtime agree does not depend on size and is not tried again.
    """
    checkpoint, path = tmp_path / "a.safetensors", tmp_path / "a.onnx"
    new_checkpoint(load_recipe(LSC), checkpoint)
    deployment = deploy(load_checkpoint(checkpoint), Shapes((800, 1344), proposals=1000))
    model = to_fp16(apply_rules(onnx_from_torch(deployment))[0])
    contract = dataclasses.replace(deployment.contract, precision="fp16")
    onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
    report = build_engine(path, tmp_path / "a.engine", progress=False)
    assert report.fingerprint.runtime == "tensorrt-rtx"
    assert report.network.fp16_mac_share > 0.9
    assert report.engine_path.stat().st_size > 30e6
