"""`maskrt bisect`: layers made unsafe on purpose are found, and the repaired export passes.

A layer's factor and shift are multiplied by a power of two and the weights of the layer behind its
ReLU divided by it: in FP32 the network computes the very same numbers, in half it cannot.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import maskrt as package
from maskrt.eval import CocoData, load_coco
from maskrt.export.search.precision_file import PrecisionFile, write_precision_file
from maskrt.runtime.files import sha256_of
from maskrt.runtime.sessions.open import ModelRef
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.workflows.measure import measured, measured_hop
from maskrt.workflows.search.judge import PictureJudge

Run = Callable[..., Any]
Copy = Callable[[Path, Path, Callable[[dict[str, Any]], None]], Path]

SHIPPED = Path(package.__file__).parent / "train" / "checkpoints"
PICTURES = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> CocoData:
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, 1, PICTURES, 5)
    return load_coco(folder, "val")


@dataclasses.dataclass(frozen=True)
class Unsafe:
    """Which layers of a shipped network are changed, and how."""

    network: str
    first: str
    second: str
    """Reads the ReLU of `first` and nothing else."""
    power: int

    @property
    def groups(self) -> set[str]:
        return {f"model.{self.first}", f"model.{self.second}"}

    def change(self, tensors: dict[str, Any]) -> None:
        for key in ("norm.weight", "norm.bias"):
            tensors[f"{self.first}.{key}"].mul_(2.0**self.power)
        tensors[f"{self.second}.weight"].mul_(2.0**-self.power)


WEIGHTS = Unsafe("lsc_mask_rcnn_tiny", "backbone.res3.0.conv1", "backbone.res3.0.conv2", 20)
"""Weights up to 0.38 become 400,000; half ends at 65504."""
ACTIVATIONS = Unsafe("fastmask_tiny", "body.res3.1.conv1", "body.res3.1.conv2", 16)
"""Weights up to 0.4 become 26,000 and fit; what is above 1 behind them becomes infinite."""


@pytest.mark.slow
@pytest.mark.parametrize("unsafe", [WEIGHTS, ACTIVATIONS], ids=["weights", "activations"])
def test_an_unsafe_layer_is_found_and_the_repaired_model_passes_its_gate(
    unsafe: Unsafe, pictures: CocoData, maskrt: Run, changed_copy: Copy, tmp_path: Path
) -> None:
    shipped = SHIPPED / f"{unsafe.network}.safetensors"
    checkpoint = changed_copy(shipped, tmp_path / "unsafe.safetensors", unsafe.change)
    precision, repaired = tmp_path / "p.json", tmp_path / "repaired.onnx"
    half = ("export", checkpoint, "-o", repaired, "--precision", "fp16")

    refused = maskrt(*half)
    assert refused.code == 2, "export verifies what it writes"
    assert not repaired.exists()

    words = ("bisect", checkpoint, "--data", pictures.folder, "--first", 2, "-o", precision)
    ran = maskrt(*words, "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json["kept"]) == unsafe.groups
    # values that overflow are set apart before anything is tried
    assert ran.json["fastest"]["passed"] == (unsafe is ACTIVATIONS)
    assert ran.json["sets"][0]["passed"]
    assert ran.json["evaluations"] < 40
    assert ran.json["mac_shares"]["fp16"] > 0.9
    groups = json.loads(precision.read_text())["groups"]
    assert {name for name, level in groups.items() if level == "fp32"} == unsafe.groups

    assert maskrt("export", checkpoint, "-o", repaired, "--mixture", precision).code == 0
    reference = measured(ModelRef(shipped), pictures)
    hop = measured_hop(reference, measured(ModelRef(repaired), pictures), repaired)
    assert hop.precision == "fp16"
    assert not hop.failures
    assert hop.parity.reference_counted >= PICTURES
    built = maskrt("build", repaired, "-o", tmp_path / "repaired.engine", "--json")
    assert built.code == 0, built.err


def surer_of_class_0(tensors: dict[str, Any]) -> None:
    """An untrained network scores 1/11 everywhere; this one scores 0.67."""
    tensors["box_predictor.cls_score.bias"][0] += 3.0


@pytest.fixture
def sure(chain: Any, changed_copy: Copy, tmp_path: Path) -> Path:
    """A very narrow checkpoint that finds something."""
    return changed_copy(chain.checkpoint, tmp_path / "sure.safetensors", surer_of_class_0)


def test_sound_fp16_needs_no_group_and_export_takes_that(
    maskrt: Run, chain: Any, sure: Path, tmp_path: Path
) -> None:
    precision, onnx_path = tmp_path / "p.json", tmp_path / "x.onnx"
    words = ("bisect", sure, "--data", chain.data, "--gate", 0.01, "-o", precision)
    ran = maskrt(*words, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["kept"], ran.json["evaluations"]) == ([], 1)
    assert "FP32 on 3 pictures, the reference" in ran.err
    assert "groups in FP16: matched " in ran.err
    assert "100.0% FP16; 0 groups stay higher" in ran.out
    written = json.loads(precision.read_text())["certificate"]
    assert (written["metric"], written["gate"]) == ("instances", 0.01)
    measured_on = written["sets"][0]
    assert [measured_on[key] for key in ("data", "split", "count")] == ["shapes", "val", 3]
    words = ("export", sure, "-o", onnx_path, "--mixture", precision)
    assert maskrt(*words).code == 0


def test_an_interrupt_leaves_the_journal_alone(
    maskrt: Run, chain: Any, sure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, few: bool) -> None:
        raise KeyboardInterrupt

    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    out.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(PictureJudge, "__call__", interrupted)
    ran = maskrt("bisect", sure, "--data", chain.data, "-o", out / "p.json")
    assert ran.code == 130
    assert "interrupted" in ran.err
    assert [*temporary.iterdir(), *out.iterdir()] == [out / "p.journal"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "p.txt"), "a precision file ends in .json; found '.txt'"),
        (("-o", "p.json", "--gate", "0"), "--gate 0.0: expected a matched share above 0"),
        (("-o", "p.json", "--gate", "1.5"), "--gate 1.5: expected a matched share above 0"),
        (("-o", "p.json", "--metric", "ap", "--gate", "-1"), "expected a change in points"),
        (("-o", "p.json", "--gate", "nan"), "--gate nan: expected"),
        (("-o", "p.json", "--first", "0"), "--first 0: expected at least 1"),
    ],
)
def test_bad_usage_is_refused_before_anything_runs(
    maskrt: Run, chain: Any, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    out, *rest = options[1:]
    ran = maskrt("bisect", chain.checkpoint, "--data", chain.data, "-o", tmp_path / out, *rest)
    assert ran.code == 2
    assert words in ran.err
    assert list(tmp_path.iterdir()) == []


def test_an_ap_of_0_says_nothing_of_a_change(
    maskrt: Run, chain: Any, sure: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.json"
    ran = maskrt("bisect", sure, "--data", chain.data, "--metric", "ap", "-o", out)
    assert (ran.code, "box AP, mask AP is 0; expected more" in ran.err) == (2, True)
    assert not out.exists()


def test_a_network_that_finds_nothing_has_no_reference(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    ran = maskrt("bisect", chain.checkpoint, "--data", chain.data, "-o", tmp_path / "p.json")
    assert ran.code == 2
    assert "nothing of score 0.1 or more found" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_precision_file_stands_alone_and_is_for_its_own_checkpoint(
    maskrt: Run, chain: Any, sure: Path, tmp_path: Path
) -> None:
    precision, out = tmp_path / "p.json", tmp_path / "x.onnx"
    write_precision_file(precision, PrecisionFile(sha256_of(sure), {"model.rpn": "fp32"}))
    words = ("export", chain.checkpoint, "-o", out, "--mixture", precision)
    ran = maskrt(*words, "--precision", "fp16")
    assert (ran.code, "--precision fp16 found; expected one of the two" in ran.err) == (2, True)
    ran = maskrt(*words)
    assert (ran.code, "made for a checkpoint with SHA-256" in ran.err) == (2, True)
    assert not out.exists()


def test_a_group_that_the_network_lacks_is_refused(maskrt: Run, sure: Path, tmp_path: Path) -> None:
    precision, out = tmp_path / "p.json", tmp_path / "x.onnx"
    write_precision_file(precision, PrecisionFile(sha256_of(sure), {"model.neck": "fp32"}))
    ran = maskrt("export", sure, "-o", out, "--mixture", precision)
    assert (ran.code, "'model.neck' names no module" in ran.err) == (2, True)
    assert not out.exists()
