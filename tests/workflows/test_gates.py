"""The shipped networks pass the parity gates with every choice that an exported file leaves open.

Choices: the body of RoIAlign, and what runs the file. The defaults are in test_demo.py, whose files
are measured here again in other ways. Elsewhere: rules change no bit (tests/export/rules), the
plugins' kernels (tests/engines/kernels/test_kernel_parity.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from maskrt.eval import CocoData, Measurement
from maskrt.export.operators.grid_sample_body import grid_sample_function
from maskrt.export.operators.roi_align import ROI_ALIGN
from maskrt.runtime.sessions.open import ModelRef
from maskrt.workflows.data import load_data
from maskrt.workflows.demo import CHECKPOINTS, SHIPPED
from maskrt.workflows.measure import measured, measured_hop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(demo: Any) -> CocoData:
    return load_data(demo.data)


@pytest.fixture(scope="module")
def reference(pictures: CocoData) -> Callable[[str], Measurement]:
    """What torch finds with a checkpoint, measured once."""
    known: dict[str, Measurement] = {}

    def of(name: str) -> Measurement:
        if name not in known:
            known[name] = measured(ModelRef(CHECKPOINTS / f"{name}.safetensors"), pictures)
        return known[name]

    return of


def test_the_other_body_of_roi_align_passes(
    demo: Any, pictures: CocoData, reference: Callable[[str], Measurement], tmp_path: Path
) -> None:
    name = "lsc_mask_rcnn_tiny"
    for precision in ("fp32", "fp16"):
        changed = with_grid_sample(demo.out / f"{name}-{precision}.onnx", tmp_path)
        assert_passes(reference(name), changed, pictures)


def assert_passes(reference: Measurement, path: Path, pictures: CocoData) -> None:
    hop = measured_hop(reference, measured(ModelRef(path), pictures), path)
    assert not hop.failures
    assert hop.parity.reference_counted >= len(pictures.images)


@pytest.mark.parametrize("name", SHIPPED)
def test_openvino_passes_in_fp32_and_stays_near_in_bf16(
    name: str, demo: Any, pictures: CocoData, reference: Callable[[str], Measurement]
) -> None:
    """BF16 has 8 bits: its AP of few pictures moves by points, too much for a gate on them."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    fp32, bf16 = (
        measured_hop(reference(name), measured(ModelRef(path, "openvino"), pictures), path)
        for path in (demo.out / f"{name}-{precision}.onnx" for precision in ("fp32", "fp16"))
    )
    assert not fp32.failures
    assert fp32.parity.reference_counted >= len(pictures.images)
    assert bf16.parity.score_delta_mean < 0.02  # 0.011 is the most, of the pyramid network
    assert bf16.parity.mask_iou_mean > 0.9


def with_grid_sample(path: Path, folder: Path) -> Path:
    """The same file with the other body of RoIAlign."""
    model = onnx.load(path)
    (old,) = (function for function in model.functions if function.name == ROI_ALIGN)
    (opset,) = (entry.version for entry in model.opset_import if not entry.domain)
    model.functions.remove(old)
    model.functions.append(grid_sample_function(opset))
    changed = folder / f"{path.stem}-grid-sample.onnx"
    onnx.save(model, changed)
    return changed
