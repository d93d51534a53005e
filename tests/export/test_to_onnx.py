"""Every network of the family through export and a real TensorRT-RTX build."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from maskrt.engines.builder import build_engine
from maskrt.export.rules.exact_rules import ALL_RULES, Outcome, apply_rules
from maskrt.export.to_onnx import export
from maskrt.export.verify import _compare, verify
from maskrt.runtime.contract import METADATA_KEY
from maskrt.runtime.errors import ExportError
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.train.deploy.deployment import Shapes, deploy
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.torch_session import TorchSession
from maskrt.train.weights.checkpoint import load_checkpoint, new_checkpoint

from .conftest import MakeCheckpoint

LSC = "lsc_mask_rcnn_r50_512"
# Tables I to III of the paper, widths cut to a sixteenth and less: 64 -> 4, 512 -> 32, ...
ROWS = {
    "baseline": ("mask_rcnn_r50_c4", ()),
    "framework 1": (LSC, ("model.separable_channels=16", "model.subnet_channels=32")),
    "framework 2": (
        "lsc_mask_rcnn_r50_1024",
        ("model.separable_channels=16", "model.subnet_channels=64"),
    ),
    "sep 64 + c5": (LSC, ("model.separable_channels=4", "model.subnet=c5")),
    "sep 128 + c5": (LSC, ("model.separable_channels=8", "model.subnet=c5")),
    "sep 64 + 512": (LSC, ("model.separable_channels=4", "model.subnet_channels=32")),
    "Cout 256, pooling 14": (LSC, ("model.subnet_channels=16", "model.pooling=14")),
    "Cout 512, pooling 14": (LSC, ("model.subnet_channels=32", "model.pooling=14")),
    "tiny lsc": ("lsc_mask_rcnn_tiny", ("model.norm=frozen", "model.separable_channels=8")),
    "tiny baseline": ("mask_rcnn_tiny", ("model.norm=frozen",)),
}


@pytest.mark.parametrize("row", ROWS)
def test_every_row_exports_and_builds(row: str, lively: MakeCheckpoint, tmp_path: Path) -> None:
    recipe, overrides = ROWS[row]
    fp32, fp16 = tmp_path / "a.onnx", tmp_path / "b.onnx"
    reports = export(lively(recipe, *overrides), {"fp32": fp32, "fp16": fp16})
    assert reports[0].verification.asked > 0
    build = build_engine(fp16, tmp_path / "b.engine", progress=False)
    assert build.network.fp16_mac_share > 0.9
    assert build.contract.precision == "fp16"


@pytest.fixture(scope="module")
def exported(lively: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    checkpoint = lively(LSC, "model.separable_channels=16", "model.subnet_channels=32")
    path = tmp_path_factory.mktemp("exported") / "x.onnx"
    export(checkpoint, {"fp32": path}, shapes=Shapes((96, 64), batch=2, proposals=15, detections=7))
    return checkpoint, path


def test_shapes_options_become_static_outputs(exported: tuple[Path, Path]) -> None:
    model = onnx.load(exported[1])
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


def test_light_subnet_leaves_every_rule_out(exported: tuple[Path, Path]) -> None:
    model = onnx.load(exported[1])
    _, outcomes = apply_rules(model, ALL_RULES)
    reason = "model.subnet.conv1 is a 3x3 convolution and mixes bins"
    assert outcomes == tuple(Outcome(name, 0, (reason,)) for name in ALL_RULES)


def test_no_path_of_the_exporting_machine_is_in_the_file(exported: tuple[Path, Path]) -> None:
    assert str(Path(__file__).parents[2]).encode() not in exported[1].read_bytes()


def test_pixels_and_boxes_outside_the_valid_region_do_not_count(
    exported: tuple[Path, Path],
) -> None:
    session = OrtSession(exported[1])
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


def test_torch_and_onnxruntime_agree_slot_by_slot(exported: tuple[Path, Path]) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, 96, 64, 3), dtype=np.uint8)
    sizes = np.array([[96, 64], [80, 64]], np.int32)
    onnx_session = OrtSession(exported[1])
    shapes = Shapes((96, 64), batch=2, proposals=15, detections=7)
    wanted = TorchSession(exported[0], shapes).run(images, sizes)
    found = onnx_session.run(images, sizes)
    onnx_session.close()
    np.testing.assert_array_equal(wanted["labels"], found["labels"])
    for name in ("boxes", "scores", "masks"):  # FP32 sums in another order
        np.testing.assert_allclose(wanted[name], found[name], atol=2e-3)


def test_a_changed_weight_fails_the_verification(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    model = onnx.load(exported[1])
    for tensor in model.graph.initializer:
        if tensor.name.endswith("subnet.conv1.weight"):
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[0] *= -3
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    shapes = Shapes((96, 64), batch=2, proposals=15, detections=7)
    deployment = deploy(load_checkpoint(exported[0]), shapes)
    with pytest.raises(ExportError, match=r"ONNX Runtime gives \d+ of \d+ instances"):
        verify(deployment, broken, "fp32", "broken.onnx")


@pytest.mark.parametrize(("shift_px", "agree"), [(0.04, True), (0.2, False)])
def test_slivers_are_compared_by_their_corners(
    shift_px: float, agree: bool, exported: tuple[Path, Path]
) -> None:
    contract = OrtSession(exported[1]).contract
    one = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in contract.outputs}
    one["counts"][:] = 1
    one["scores"][:, 0] = 1.0
    one["boxes"][:, 0] = (3.0, 20.0, 60.0, 20.001)
    other = {name: value.copy() for name, value in one.items()}
    other["boxes"][:, 0, 1::2] += shift_px  # an IoU of 0
    found = _compare(one, other, "fp32", contract)
    assert (found.asked, found.found) == (4, 4 if agree else 0)


@pytest.mark.slow
def test_full_size_framework_1_builds_in_fp16(tmp_path: Path) -> None:
    checkpoint, path = tmp_path / "a.safetensors", tmp_path / "a.onnx"
    new_checkpoint(load_recipe(LSC), checkpoint)
    export(checkpoint, {"fp16": path}, shapes=Shapes((800, 1344), proposals=1000))
    report = build_engine(path, tmp_path / "a.engine", progress=False)
    assert report.fingerprint.runtime == "tensorrt-rtx"
    assert report.network.fp16_mac_share > 0.9
    assert report.engine_path.stat().st_size > 30e6
