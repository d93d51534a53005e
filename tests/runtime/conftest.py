"""A contract of two 32 x 48 canvases, a tiny ONNX artefact that computes from its inputs, and a
contract of proposals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrt.runtime.contract import METADATA_KEY, Contract, ResizeRule, TensorSpec

TINY_GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (uint8[2, 32, 48, 3] images, int32[2, 2] image_sizes) =>
    (float[2, 3, 4] boxes, float[2, 3] scores, int32[2, 3] labels, float[2, 3, 4, 4] masks,
     int32[2] counts)
<
    float[2, 12] corners = {0, 0, 0, 1,  0, 0.5, 0, 1,  0, 0, 0, 0,
                            0, 0, 1, 0,  0.5, 0, 1, 0,  0, 0, 0, 0},
    int64[3] boxes_shape = {2, 3, 4},
    int64[2] scores_shape = {2, 3},
    int64[4] masks_shape = {2, 3, 4, 4},
    float[1] full_scale = {255},
    float[1] one = {1},
    int32[2, 3] label_values = {1, 0, 0, 1, 0, 0},
    int32[2] count_values = {2, 2},
    int64[1] axis = {1}
>
{
    sizes = Cast <to = 1> (image_sizes)
    flat = MatMul (sizes, corners)
    boxes = Reshape (flat, boxes_shape)
    pixels = Cast <to = 1> (images)
    brightest = ReduceMax <axes = [1, 2, 3], keepdims = 0> (pixels)
    share = Div (brightest, full_scale)
    column = Unsqueeze (share, axis)
    scores = Expand (column, scores_shape)
    labels = Identity (label_values)
    masks = Expand (one, masks_shape)
    counts = Identity (count_values)
}
"""
"""Slot 0 is the valid area, slot 1 its lower right quarter; a score is the peak pixel / 255."""


@pytest.fixture
def tiny_contract() -> Contract:
    return Contract(
        model="mask_rcnn",
        variant="tiny",
        task="instances",
        class_names=("disc", "star"),
        canvas_hw=(32, 48),
        batch=2,
        resize=ResizeRule(short_side_px=0, long_side_px=48),
        channel_order="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        inputs=(
            TensorSpec("images", (2, 32, 48, 3), "uint8"),
            TensorSpec("image_sizes", (2, 2), "int32"),
        ),
        outputs=(
            TensorSpec("boxes", (2, 3, 4), "float32"),
            TensorSpec("scores", (2, 3), "float32"),
            TensorSpec("labels", (2, 3), "int32"),
            TensorSpec("masks", (2, 3, 4, 4), "float32"),
            TensorSpec("counts", (2,), "int32"),
        ),
        precision="fp32",
        operators=(),
        checkpoint_sha256="0" * 64,
    )


@pytest.fixture
def proposal_contract(tiny_contract: Contract) -> Contract:
    """One picture at a time, at most four windows of 10 x 10 cells."""
    return dataclasses.replace(
        tiny_contract,
        model="fastmask",
        variant="tiny_proposals",
        task="proposals",
        class_names=("object",),
        batch=1,
        resize=ResizeRule(short_side_px=0, long_side_px=48, multiple_px=4),
        inputs=(
            TensorSpec("images", (1, 32, 48, 3), "uint8"),
            TensorSpec("image_sizes", (1, 2), "int32"),
        ),
        outputs=(
            TensorSpec("windows", (1, 4, 4), "float32"),
            TensorSpec("scores", (1, 4), "float32"),
            TensorSpec("masks", (1, 4, 10, 10), "float32"),
            TensorSpec("counts", (1,), "int32"),
        ),
        operators=("MaskrtWindowAlign",),
        mask_threshold=0.2,
        mask_upsampling=4,
    )


@pytest.fixture
def write_onnx(tmp_path: Path) -> Callable[[str | None], Path]:
    """Writes the tiny graph with the given contract text (None: without a contract)."""
    import onnx

    def write(contract_text: str | None) -> Path:
        model = onnx.parser.parse_model(TINY_GRAPH)
        if contract_text is not None:
            onnx.helper.set_model_props(model, {METADATA_KEY: contract_text})
        onnx.checker.check_model(model, full_check=True)
        path = tmp_path / "tiny.onnx"
        onnx.save(model, str(path))
        return path

    return write
