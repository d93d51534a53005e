"""The shipped networks pass the parity gates with every choice that an exported file leaves open.

Choices: the rules that rewrite the graph, the body of RoIAlign, and what runs the file. The kernels
of the plugins are in tests/engines/test_kernel_parity.py, the defaults in tests/test_demo.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from maskrt.eval import CocoData, Measurement, hop_between, load_coco
from maskrt.export.operators.grid_sample_body import grid_sample_function
from maskrt.export.operators.roi_align import ROI_ALIGN
from maskrt.export.rules.exact_rules import ALL_RULES
from maskrt.export.to_onnx import export
from maskrt.runtime.sessions.open import ModelRef
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.workflows.measure import measured

CHECKPOINTS = Path(__file__).parents[2] / "train" / "checkpoints"
PICTURES = 6
CHOICES = [
    ("lsc_mask_rcnn_tiny", "GridSample body"),
    ("mask_rcnn_tiny", "no rules"),
    ("mask_rcnn_tiny", "all rules"),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> CocoData:
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, 1, PICTURES, 5)
    return load_coco(folder, "val")


@pytest.fixture(scope="module")
def reference(pictures: CocoData) -> Callable[[str], Measurement]:
    """What torch finds with a checkpoint, measured once."""
    known: dict[str, Measurement] = {}

    def of(name: str) -> Measurement:
        if name not in known:
            known[name] = measured(ModelRef(CHECKPOINTS / f"{name}.safetensors"), pictures)
        return known[name]

    return of


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """FP32 and FP16 of a checkpoint, exported once for each set of rules."""
    known: dict[tuple[str, tuple[str, ...]], tuple[Path, Path]] = {}

    def of(name: str, rules: tuple[str, ...] = ALL_RULES) -> tuple[Path, Path]:
        if (name, rules) not in known:
            folder = tmp_path_factory.mktemp("exported")
            paths = folder / f"{name}-fp32.onnx", folder / f"{name}-fp16.onnx"
            onnx_paths = dict(zip(("fp32", "fp16"), paths, strict=True))
            export(CHECKPOINTS / f"{name}.safetensors", onnx_paths, rules=rules)
            known[name, rules] = paths
        return known[name, rules]

    return of


@pytest.mark.parametrize(("name", "choice"), CHOICES)
def test_a_choice_passes_both_gates(
    name: str,
    choice: str,
    pictures: CocoData,
    reference: Callable[[str], Measurement],
    exported: Callable[..., tuple[Path, Path]],
) -> None:
    for path in exported(name, () if choice == "no rules" else ALL_RULES):
        source = with_grid_sample(path) if choice == "GridSample body" else path
        hop = hop_between(reference(name), measured(ModelRef(source), pictures))
        assert not hop.failures
        assert hop.parity.reference_counted >= PICTURES


@pytest.mark.parametrize("name", ["lsc_mask_rcnn_tiny", "mask_rcnn_tiny", "fastmask_tiny"])
def test_openvino_passes_in_fp32_and_stays_near_in_bf16(
    name: str,
    pictures: CocoData,
    reference: Callable[[str], Measurement],
    exported: Callable[..., tuple[Path, Path]],
) -> None:
    """BF16 has 8 bits: its AP of six pictures moves by points, too much for a gate on so few."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    fp32, bf16 = (
        hop_between(reference(name), measured(ModelRef(path, "openvino"), pictures))
        for path in exported(name)
    )
    assert not fp32.failures
    assert fp32.parity.reference_counted >= PICTURES
    assert bf16.parity.score_delta_mean < 0.01
    assert bf16.parity.mask_iou_mean > 0.9


def with_grid_sample(path: Path) -> Path:
    """The same file with the other body of RoIAlign."""
    model = onnx.load(path)
    (old,) = (function for function in model.functions if function.name == ROI_ALIGN)
    (opset,) = (entry.version for entry in model.opset_import if not entry.domain)
    model.functions.remove(old)
    model.functions.append(grid_sample_function(opset))
    changed = path.with_name(f"{path.stem}-grid-sample.onnx")
    onnx.save(model, changed)
    return changed
