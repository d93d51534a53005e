"""An imported network sees what Detectron2 would show it: sizes, pixels, anchors, channel order.

The other side is computed here in numpy from Detectron2's documented rules, and shares nothing with
the package: `ResizeShortestEdge` (data/transforms), Pillow's bilinear filter (`Image.resize`, 8-bit
passes), `GeneralizedRCNN.preprocess_image` and `DefaultAnchorGenerator`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maskrt.runtime.pictures.preprocess import place_on_canvas, scaled_size_hw
from maskrt.train.deploy.deployment import Deployment, Shapes, deploy
from maskrt.train.networks.mask_rcnn import MaskRCNN
from maskrt.train.weights.checkpoint import load_checkpoint
from maskrt.train.weights.import_weights import import_checkpoint

from .conftest import Arrays

Make = Callable[..., Arrays]
Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

SHORT, LONG = 240, 320
MEAN, STD = (101.5, 117.25, 130.0), (57.375, 60.0, 58.395)
SIZES, RATIOS = (20.0, 48.0, 100.5), (0.4, 1.0, 2.2, 3.0)
ANCHORS = (f"model.anchor_sizes_px={list(SIZES)}", f"model.anchor_ratios={list(RATIOS)}")


@pytest.fixture
def deployed(
    arrays: Make, saved: Callable[[Arrays], Path], config: Callable[..., Path], tmp_path: Path
) -> Callable[..., Deployment]:
    """`deployed("RGB")`: the weights imported with a config of that channel order."""

    def make(order: str) -> Deployment:
        step = 1 if order == "BGR" else -1
        stored = arrays(*ANCHORS)
        stem = "backbone.stem.conv1.weight"
        stored[stem] = np.ascontiguousarray(stored[stem][:, ::step])  # the same network either way
        text = settings(order, list(MEAN[::step]), list(STD[::step]))
        out = tmp_path / f"{order}.safetensors"
        import_checkpoint(saved(stored), "detectron2", out, config=config(text))
        return deploy(load_checkpoint(out), Shapes())

    return make


def settings(order: str, mean: list[float], std: list[float]) -> str:
    """A config that is the zoo's in nothing."""
    return f"""
INPUT: {{FORMAT: {order}, MIN_SIZE_TEST: {SHORT}, MAX_SIZE_TEST: {LONG}}}
MODEL:
  PIXEL_MEAN: {mean}
  PIXEL_STD: {std}
  ANCHOR_GENERATOR: {{SIZES: [{list(SIZES)}], ASPECT_RATIOS: [{list(RATIOS)}]}}
  RPN: {{PRE_NMS_TOPK_TEST: 200, POST_NMS_TOPK_TEST: 50}}
  ROI_HEADS: {{SCORE_THRESH_TEST: 0.01, NMS_THRESH_TEST: 0.4}}
TEST: {{DETECTIONS_PER_IMAGE: 20}}
"""


def picture(height: int, width: int) -> Image:
    """Noise over slopes: every filter shows."""
    generator = np.random.default_rng(height * 10_000 + width)
    slopes = np.indices((height, width)).sum(axis=0)[..., None] * np.array([1, 2, 3]) % 200
    noise = generator.integers(0, 56, (height, width, 3))
    return (slopes + noise).astype(np.uint8)


def resize_shortest_edge(h: int, w: int) -> tuple[int, int]:
    """`ResizeShortestEdge.get_output_shape`."""
    size = SHORT * 1.0
    scale = size / min(h, w)
    newh, neww = (size, scale * w) if h < w else (scale * h, size)
    if max(newh, neww) > LONG:
        scale = LONG * 1.0 / max(newh, neww)
        newh = newh * scale
        neww = neww * scale
    return int(newh + 0.5), int(neww + 0.5)


def triangle_weights(source: int, target: int, *, averaged: bool) -> Floats:
    """(target, source) of a bilinear filter, around pixel centres.

    Where pictures get smaller Pillow widens the triangle to all that a new pixel covers; OpenCV's
    INTER_LINEAR weighs the two nearest pixels at any scale.
    """
    scale = source / target
    support = max(scale, 1.0) if averaged else 1.0
    centers = ((np.arange(target) + 0.5) * scale).clip(0.5, source - 0.5)
    weights = np.maximum(0, 1 - np.abs(np.arange(source) + 0.5 - centers[:, None]) / support)
    return weights / weights.sum(axis=1, keepdims=True)


def resize(image: Image, height: int, width: int, *, averaged: bool = True) -> Floats:
    """`Image.resize(BILINEAR)`: along rows first, each pass rounded to 8 bits."""
    across = triangle_weights(image.shape[1], width, averaged=averaged)
    down = triangle_weights(image.shape[0], height, averaged=averaged)
    rows = np.floor(np.einsum("ts,hsc->htc", across, image.astype(float)) + 0.5)
    return np.floor(np.einsum("ts,swc->twc", down, rows) + 0.5)


def detectron2_input(image: Image, *, averaged: bool = True) -> Floats:
    """(3, h, w) that Detectron2's backbone would see of an RGB picture; FORMAT BGR."""
    resized = resize(image, *resize_shortest_edge(*image.shape[:2]), averaged=averaged)
    bgr = resized[:, :, ::-1].transpose(2, 0, 1)
    return (bgr - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]


def network_input(made: Deployment, image: Image) -> tuple[Floats, tuple[int, int]]:
    """(3, H, W) that our first convolution sees, the canvas and all, and the valid (h, w)."""
    canvases, image_sizes = place_on_canvas([image], made.contract)
    model = made.module.model
    assert isinstance(model, MaskRCNN)
    x = model.normalize(torch.from_numpy(canvases), torch.from_numpy(image_sizes))
    height, width = image_sizes[0]
    return x[0].double().numpy(), (int(height), int(width))


def test_the_contract_says_what_the_config_says(deployed: Callable[..., Deployment]) -> None:
    contract = deployed("BGR").contract
    assert (contract.channel_order, contract.mean, contract.std) == ("BGR", MEAN, STD)
    assert contract.resize.short_side_px == SHORT
    assert contract.resize.long_side_px == LONG
    assert contract.canvas_hw == (240, 320)
    assert contract.origin.startswith("imported from model_final.pkl")
    assert contract.output("boxes").shape == (1, 20, 4)


def test_sizes_are_those_of_resize_shortest_edge(deployed: Callable[..., Deployment]) -> None:
    contract = deployed("BGR").contract
    wrong = {}
    for height in range(37, 1200, 53):
        for width in range(height, 3 * height, 31):
            found = scaled_size_hw((height, width), contract.resize, contract.canvas_hw)
            if found != resize_shortest_edge(height, width):
                wrong[height, width] = found
    assert not wrong


def grey_levels(made: Deployment, image: Image, expected: Floats) -> Floats:
    """(3, h, w) absolute differences of what the two networks see, times the deviations."""
    found, (height, width) = network_input(made, image)
    assert expected.shape == (3, height, width)
    beyond = found.copy()
    beyond[:, :height, :width] = 0
    assert not beyond.any()
    return np.abs(found[:, :height, :width] - expected) * np.array(STD)[:, None, None]


@pytest.mark.parametrize("image_hw", [(120, 160), (200, 260), (90, 150), (240, 320), (61, 200)])
def test_enlarged_pictures_agree_to_a_grey_level(
    deployed: Callable[..., Deployment], image_hw: tuple[int, int]
) -> None:
    image = picture(*image_hw)
    # both round to 8 bits, Pillow after each of two passes, which makes ties of many values
    differences = grey_levels(deployed("BGR"), image, detectron2_input(image))
    assert differences.max() < 1.01
    assert differences.mean() < 0.4


def test_reduced_pictures_differ_by_the_filter_alone(deployed: Callable[..., Deployment]) -> None:
    image, made = picture(480, 640), deployed("BGR")
    two_pixels = grey_levels(made, image, detectron2_input(image, averaged=False))
    assert two_pixels.max() < 1.01
    all_covered = grey_levels(made, image, detectron2_input(image))
    assert 2 < all_covered.mean() < 6  # noise of 56 grey levels at half the size


def test_anchors_are_those_of_the_formula(deployed: Callable[..., Deployment]) -> None:
    expected = []
    for y in range(240 // 16):
        for x in range(320 // 16):
            for size in SIZES:
                for ratio in RATIOS:
                    w = (size**2 / ratio) ** 0.5
                    h = ratio * w
                    expected.append(
                        (16 * x - w / 2, 16 * y - h / 2, 16 * x + w / 2, 16 * y + h / 2)
                    )
    anchors: Any = deployed("BGR").module.anchors
    np.testing.assert_allclose(anchors.numpy(), np.array(expected), rtol=0, atol=2e-4)


def test_a_network_trained_on_rgb_is_the_same_network(
    deployed: Callable[..., Deployment],
) -> None:
    """Weights and config with their channels turned over: the graph takes RGB in both."""
    bgr, rgb = deployed("BGR"), deployed("RGB")
    assert (rgb.contract.channel_order, rgb.contract.mean) == ("RGB", MEAN[::-1])
    canvases, sizes = (
        torch.from_numpy(a) for a in place_on_canvas([picture(200, 260)], bgr.contract)
    )
    with torch.no_grad():
        for one, other in zip(
            bgr.module(canvases, sizes), rgb.module(canvases, sizes), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert bgr.module(canvases, sizes)[4].item() > 0
        turned = bgr.module(canvases.flip(3), sizes)
    assert not torch.allclose(turned[0], bgr.module(canvases, sizes)[0], atol=1)
