"""Both networks with the kernels at their operators' places pass the gates of an engine's hop.

An engine with plugins runs on a GPU only. What it does differently from the portable one is the
operator, and the kernel runs here in Triton's interpreter, inside the torch deploy form.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.eval import CocoData, hop_between, load_coco, measure
from maskrt.eval.coco.predictions import read_record
from maskrt.runtime.pictures.preprocess import place_on_canvas
from maskrt.runtime.predictor import Predictor
from maskrt.train.deploy.deployment import Shapes
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.torch_session import TorchSession

CHECKPOINTS = Path(__file__).parents[3] / "train" / "checkpoints"
PICTURES = 3
# The interpreter takes 0.1 s per box, so there are fewer of them than in the recipes.
SLOTS = {"lsc_mask_rcnn_tiny": (30, 10), "fastmask_tiny": (40, 0)}


class Replayed:
    """A session that gives recorded outputs, one batch after the other."""

    backend = "Triton's interpreter"
    device = None

    def __init__(self, contract: Any, outputs: dict[str, Any]) -> None:
        self.contract = contract
        rows = (outputs[spec.name] for spec in contract.outputs)
        names = [spec.name for spec in contract.outputs]
        self._batches = (
            dict(zip(names, (value[None] for value in row), strict=True))
            for row in zip(*rows, strict=True)
        )

    def run(self, images: Any, image_sizes: Any) -> Any:
        return next(self._batches)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> CocoData:
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, 1, PICTURES, 5)
    return load_coco(folder, "val")


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", SLOTS)
def test_a_network_with_the_kernels_passes_the_gates(
    name: str, half: bool, pictures: CocoData, tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    checkpoint = CHECKPOINTS / f"{name}.safetensors"
    proposals, detections = SLOTS[name]
    shapes = Shapes(proposals=proposals, detections=detections or None)
    torch_session = TorchSession(checkpoint, shapes)
    images = [read_record(record) for record in pictures.images]
    canvases = [place_on_canvas([image], torch_session.contract) for image in images]
    np.savez(
        tmp_path / "in.npz",
        images=np.concatenate([canvas for canvas, _ in canvases]),
        sizes=np.concatenate([size for _, size in canvases]),
        half=half,
        slots=SLOTS[name],
    )
    script = Path(__file__).with_name("predict_by_kernels.py")
    done = subprocess.run(
        [sys.executable, script, checkpoint, tmp_path / "in.npz", tmp_path / "out.npz"],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    contract = torch_session.contract
    if half:
        contract = dataclasses.replace(contract, precision="fp16")
    by_kernels = Replayed(contract, dict(np.load(tmp_path / "out.npz")))
    reference = measure(Predictor(torch_session), checkpoint, pictures)
    candidate = measure(Predictor(by_kernels), checkpoint, pictures)
    hop = hop_between(reference, candidate)
    assert not hop.failures
    assert hop.parity.reference_counted >= PICTURES
    assert hop.parity.matched == 1.0
    # boxes of proposals are whole pixels
    assert hop.parity.box_delta_max_px <= (1.0 if half else 0.001)
    assert hop.parity.mask_iou_mean > (0.99 if half else 0.9999)
