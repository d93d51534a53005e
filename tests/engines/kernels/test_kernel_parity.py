"""Both networks with the kernels at their operators' places pass the gates of an engine's hop.

An engine with plugins runs on a GPU only. What it does differently from the portable one is the
operator, and the kernel runs here in Triton's interpreter, inside the torch deploy form. In FP16,
as engines are built: FP32 differs in the kernels' numbers alone, which `test_kernels` checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.eval import CocoData, hop_between, load_coco, measure
from maskrt.eval.coco.pictures import read_record
from maskrt.runtime.pictures.preprocess import place_on_canvas
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.sessions.interface import Backend
from maskrt.train.deploy.deployment import Shapes
from maskrt.train.shapes.drawing import draw_shapes
from maskrt.train.torch_session import TorchSession

CHECKPOINTS = Path(__file__).parents[3] / "train" / "checkpoints"
# The interpreter takes 0.1 s per box, so there are fewer of them than in the recipes.
SLOTS = {"lsc_mask_rcnn_tiny": (20, 8), "fastmask_tiny": (20, 0)}


class Replayed:
    """A session that gives recorded outputs, one batch after the other."""

    backend = Backend("triton", "cpu", "fp16", "Triton's interpreter")
    on_device = None

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
def one_picture(tmp_path_factory: pytest.TempPathFactory) -> CocoData:
    """Of several shapes: Mask R-CNN finds six."""
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, 1, 1, 5)
    return load_coco(folder, "val")


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOTS)
def test_a_network_with_the_kernels_finds_the_same(
    name: str, one_picture: CocoData, in_interpreter: Callable[..., None], tmp_path: Path
) -> None:
    checkpoint = CHECKPOINTS / f"{name}.safetensors"
    proposals, detections = SLOTS[name]
    shapes = Shapes(proposals=proposals, detections=detections or None)
    torch_session = TorchSession(checkpoint, shapes)
    images = [read_record(record) for record in one_picture.images]
    canvases, sizes = place_on_canvas(images, torch_session.contract)
    np.savez(tmp_path / "in.npz", images=canvases, sizes=sizes, slots=SLOTS[name])
    in_interpreter("predict_by_kernels.py", checkpoint, tmp_path / "in.npz", tmp_path / "out.npz")
    contract = dataclasses.replace(torch_session.contract, precision="fp16")
    by_kernels = Replayed(contract, dict(np.load(tmp_path / "out.npz")))
    reference = measure(Predictor(torch_session), checkpoint, one_picture)
    candidate = measure(Predictor(by_kernels), checkpoint, one_picture)
    hop = hop_between(reference, candidate, "fp16")
    # AP of one picture says nothing, so no gate: instance by instance instead
    assert hop.parity.reference_counted >= 5
    assert hop.parity.matched == 1.0
    # found: 0.0006 px and 0.99993; a box of FastMask is a window, exactly
    assert hop.parity.box_delta_max_px <= 0.01
    assert hop.parity.mask_iou_mean > 0.999
