"""The tool's torch row takes each picture on the canvas that its own recipe asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import maskrt
from maskrt.tools.bundle_accuracy import CANVASES, EXACT_HW, NativeTorch
from maskrt.train.deploy.canvases import canvas_for
from maskrt.train.recipes.recipe import load_recipe
from maskrt.train.shapes.scenes import draw_scene

CHECKPOINTS = Path(maskrt.__path__[0]) / "train" / "checkpoints"


def test_a_network_with_a_pyramid_gets_sides_of_32() -> None:
    image = draw_scene(np.random.default_rng(3), EXACT_HW[0]).image
    with NativeTorch(CHECKPOINTS / "mask_rcnn_fpn_tiny.safetensors") as predictor:
        (found,) = predictor.predict([image])
        assert [*predictor._opened] == [(416, 480)]
    assert len(found) > 0


@pytest.mark.parametrize("family", CANVASES)
def test_the_bundles_canvases_hold_a_picture_exactly(family: str) -> None:
    recipe = load_recipe(family)
    assert CANVASES[family] == tuple(canvas_for(recipe, hw) for hw in EXACT_HW)
