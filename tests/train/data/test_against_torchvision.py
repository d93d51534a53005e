"""Sizes, boxes, resampling and colours against numbers of torchvision's v2 transforms.

`tools/counterparts/torchvision_transforms.py` makes them. Where augmentation differs by design, the
difference is what is tested.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.contract import ResizeRule
from maskrt.runtime.pictures.preprocess import scaled_size_hw
from maskrt.train.data.augment import _gains, jittered_size_hw, recoloured
from maskrt.train.data.cropping import Window, cropped
from maskrt.train.data.dataset import Sample
from maskrt.train.data.moving import Move, moved

from .samples import sample_of

THEIRS: dict[str, Any] = json.loads(Path(__file__).with_name("torchvision.json").read_text())
PICTURE = np.array(THEIRS["picture"], np.uint8)


def of(image: np.ndarray) -> Sample:
    return dataclasses.replace(sample_of([], image.shape[:2]), image=image)


def test_scale_jitter_gives_its_size_or_the_next_pixel() -> None:
    """Its sides are rounded down, ours to the nearest as in inference."""
    side, more = THEIRS["side_px"], []
    for case in THEIRS["sizes"]:
        image_hw = tuple(case["image_hw"])
        seen_hw = scaled_size_hw(image_hw, ResizeRule(0, side), (side, side))
        size_hw = jittered_size_hw(image_hw, seen_hw, case["factor"], 1)
        more += np.subtract(size_hw, case["size_hw"]).tolist()
    assert len(more) == 2 * 4 * 7
    assert {*more} == {0, 1}


@pytest.mark.parametrize("case", THEIRS["cropped"], ids=lambda case: str(case["window"]))
def test_scaled_mirrored_and_cropped_boxes_are_its_own(case: dict[str, Any]) -> None:
    """Of rectangles, whose box is what is left of them; but for the slivers that go here."""
    given = THEIRS["boxes"]
    old_hw, size_hw = tuple(given["image_hw"]), tuple(given["scaled_hw"])
    corners = [[x0, y0, x1, y0, x1, y1, x0, y1] for x0, y0, x1, y1 in given["given"]]
    whole = dataclasses.replace(
        sample_of([[c] for c in corners], old_hw), boxes=np.array(given["given"], np.float32)
    )
    scaled = moved(whole, Move(old_hw, size_hw, size_hw, case["mirrored"]))
    y, x, height, width = case["window"]
    here = cropped(scaled, Window((y, x), (height, width)))
    theirs = dict(zip(case["kept"], case["boxes"], strict=True))
    assert {*here.labels} <= {*theirs}
    for label, box in zip(here.labels, here.boxes, strict=True):
        # cut ones have the box of their pixels
        np.testing.assert_allclose(box, theirs[label], atol=0.5)
    areas = dict(zip(range(4), whole.masks().sum(axis=(1, 2)) * 2.25, strict=True))
    for label in {*theirs} - {*here.labels}:
        x0, y0, x1, y1 = theirs[label]
        assert (x1 - x0) * (y1 - y0) < max(0.05 * areas[label], 64)


def test_sizes_are_bilinear_as_its_own_without_antialiasing() -> None:
    for case in THEIRS["resized"]:
        size_hw = tuple(case["size_hw"])
        here = moved(of(PICTURE), Move((12, 16), size_hw, size_hw, False)).image
        assert np.abs(here - np.array(case["bilinear"], np.int64)).max() <= 1


def test_what_jitter_makes_smaller_is_averaged() -> None:
    """Of all pixels, where torchvision antialiases with a triangle; nearer to it than bilinear."""
    case = THEIRS["resized"][-1]
    size_hw, soft = tuple(case["size_hw"]), np.array(case["antialiased"], np.int64)
    here = moved(of(PICTURE), Move((12, 16), size_hw, (12, 16), False)).image
    blocks = PICTURE.reshape(3, 4, 4, 4, 3).mean(axis=(1, 3))
    assert np.abs(here - blocks).max() <= 0.5
    assert np.abs(here - soft).mean() < np.abs(np.array(case["bilinear"]) - soft).mean()


@pytest.mark.parametrize("factor", THEIRS["colours"]["brightness"])
def test_brightness_is_its_own_rounded_to_nearest(factor: str) -> None:
    here = recoloured(PICTURE, 1.0, np.full(3, float(factor)))
    more = here - np.array(THEIRS["colours"]["brightness"][factor], np.int64)
    assert {*more.ravel().tolist()} == {0, 1}


@pytest.mark.parametrize("factor", THEIRS["colours"]["contrast"])
def test_contrast_is_its_own_about_another_grey(factor: str) -> None:
    """About 127.5 instead of the picture's mean: a constant apart where neither is clipped."""
    theirs = np.array(THEIRS["colours"]["contrast"][factor], np.int64)
    here = recoloured(PICTURE, float(factor), np.ones(3))
    apart = (THEIRS["colours"]["mean_grey"] - 127.5) * (1 - float(factor))
    inside = (theirs % 255 > 0) & (here % 255 > 0)
    assert inside.mean() > 0.5
    rounding = (here + apart - theirs)[inside]  # to the nearest here, down there
    assert rounding.min() >= -0.5
    assert rounding.max() <= 1.5


def test_factors_are_drawn_from_its_range() -> None:
    """Contrast and brightness; the channels' own gains have no counterpart in ColorJitter."""
    low, high = THEIRS["colours"]["range"]
    drawn = [_gains(0.3, np.random.default_rng(seed)) for seed in range(500)]
    contrasts = [contrast for contrast, _ in drawn]
    assert low <= min(contrasts) < low + 0.02
    assert high - 0.02 < max(contrasts) <= high
    gains = np.stack([gains for _, gains in drawn])
    assert low * low <= gains.min()
    assert gains.max() <= high * high
