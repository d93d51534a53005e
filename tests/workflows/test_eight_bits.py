"""`maskrt export --precision int8` and fp8: the shipped networks, their gate and engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import maskrt as package
from maskrt.eval.parity.comparison import compare
from maskrt.eval.parity.gates import check_gates
from maskrt.export.to_onnx import drawn_pictures
from maskrt.export.verify import verify
from maskrt.runtime.contract import Precision
from maskrt.runtime.errors import ExportError
from maskrt.train.deploy.deployment import Shapes, deploy
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.weights.checkpoint import load_checkpoint

Run = Callable[..., Any]

SHIPPED = Path(package.__file__).parent / "train" / "checkpoints"
CALIBRATED_ON = 8
"""The default is 64; these networks change by less than this gate's six pictures can tell."""
PICTURES = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    return draw_shapes(folder, CALIBRATED_ON, PICTURES, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"), [("lsc_mask_rcnn_tiny", "int8"), ("fastmask_tiny", "fp8")]
)
def test_a_shipped_network_takes_eight_bits_and_builds(
    name: str, precision: Precision, data: Path, maskrt: Run, tmp_path: Path
) -> None:
    checkpoint, out = SHIPPED / f"{name}.safetensors", tmp_path / "x.onnx"
    words = ("export", checkpoint, "-o", out, "--precision", precision, "--calibrate", data)
    ran = maskrt(*words, "--calibration-images", CALIBRATED_ON, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["quantized"]["pictures"] == CALIBRATED_ON
    share = ran.json["quantized"]["mac_share"]
    assert share > (0.85 if precision == "int8" else 0.5)
    assert ran.json["found"] >= 10
    assert f"calibrated on {CALIBRATED_ON} pictures; the rest is FP16" in ran.out
    assert f"warning: calibrated on {CALIBRATED_ON} pictures; expected 32 or more" in ran.out
    assert len(out.read_bytes()) < 0.6 * checkpoint.stat().st_size

    facts = maskrt("inspect", out, "--json").json
    contract = facts["contract"]
    assert (contract["precision"], contract["rest"]) == (precision, "fp16")
    if precision == "int8":
        assert 0.75 < facts["int8_mac_share"] < 1
        refuses_ranges_far_too_wide(checkpoint, out)
    (operator,) = contract["operators"]
    assert operator in {node.op_type for node in onnx.load(out).graph.node}

    # Six pictures are too few for the gate of 0.3 points, and it says so honestly either way.
    gate = maskrt("eval", out, "--data", data, "--against", checkpoint, "--json")
    assert gate.json["precision"] == precision
    assert gate.code == gate.json["exit_code"] == (1 if gate.json["failures"] else 0)
    assert all(f"{precision} allows 0.3" in text for text in gate.json["failures"])
    assert gate.json["parity"]["reference_counted"] >= PICTURES
    assert gate.json["parity"]["score_delta_mean"] < 0.05
    assert gate.json["parity"]["mask_iou_mean"] > 0.9

    built = maskrt("build", out, "-o", tmp_path / "x.engine", "--json")
    assert built.code == 0, built.err
    engine = maskrt("inspect", tmp_path / "x.engine", "--json").json
    assert engine["contract"]["precision"] == precision
    shares = engine["build"]["network"]["mac_shares"]
    assert shares[precision] == pytest.approx(facts[f"{precision}_mac_share"], abs=0.01)
    assert shares.get("fp32", 0) < 0.01, "no convolution among them"
    kinds = {kind for _, kind, *_ in engine["build"]["network"]["layers"]}
    assert {"QUANTIZE", "DEQUANTIZE"} <= kinds


def refuses_ranges_far_too_wide(checkpoint: Path, out: Path) -> None:
    """Export's own check is wide for INT8, yet sees a file that computes wrongly."""
    model = onnx.load(out)
    steps = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in steps:
            step = onnx.numpy_helper.to_array(tensor) * np.float16(30)
            tensor.CopyFrom(onnx.numpy_helper.from_array(step, tensor.name))
    wrong = out.with_name("wrong.onnx")
    onnx.save(model, wrong)
    with pytest.raises(ExportError, match="ONNX Runtime gives"):
        verify(
            deploy(load_checkpoint(checkpoint), Shapes()), wrong, "int8", "wrong", drawn_pictures(1)
        )


@pytest.mark.parametrize(("change", "failures"), [(0.3, 0), (-0.3, 0), (0.31, 1), (-0.31, 1)])
def test_the_gate_allows_what_fp16s_allows(change: float, failures: int) -> None:
    values = {kind: {"AP": 50.0} for kind in ("box", "mask")}
    moved = {"box": {"AP": 50.0 + change}, "mask": {"AP": 50.0}}
    parity = compare([], [], reference_values=values, candidate_values=moved)
    found = [text for text in check_gates(parity, "int8") if "AP changed" in text]
    assert len(found) == failures
    assert all("int8 allows 0.3" in text for text in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--precision", "int8"), "--precision int8: no --calibrate found"),
        (("--calibrate", "DATA"), "--precision fp32: --calibrate"),
        (("--precision", "fp16", "--calibrate", "DATA"), "and for these alone"),
        (
            ("--precision", "int8", "--calibrate", "DATA", "--calibration-images", "0"),
            "--calibration-images 0: expected at least 1",
        ),
        (("--precision", "int8", "--calibrate", "absent"), "no such folder"),
        (
            ("--precision", "int8", "--mixture", "p.json"),
            "--mixture p.json: --precision int8 found; expected one of the two",
        ),
        (
            ("--precision", "fp16", "--rest", "fp32"),
            "--rest fp32: --precision fp16 found; expected int8 or fp8",
        ),
    ],
)
def test_bad_usage_is_refused(
    maskrt: Run, chain: Any, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    given = [chain.data if word == "DATA" else word for word in options]
    ran = maskrt("export", chain.checkpoint, "-o", tmp_path / "x.onnx", *given)
    assert ran.code == 2
    assert words in ran.err
    assert list(tmp_path.iterdir()) == []


def test_int8_is_off_by_default(maskrt: Run, chain: Any) -> None:
    for path in (chain.onnx, chain.onnx_fp16):
        assert "QuantizeLinear" not in {node.op_type for node in onnx.load(path).graph.node}
    assert maskrt("inspect", chain.onnx, "--json").json["contract"]["precision"] == "fp32"
