"""Canvases by name, of both families' full-size recipes."""

from __future__ import annotations

import pytest

from maskrt.runtime.errors import ConfigError
from maskrt.train.deploy.canvases import canvases_of
from maskrt.train.recipes.recipe import load_recipe


def test_both_orientations_are_those_of_the_recipe() -> None:
    wanted = {
        "mask_rcnn_r50_c4": ((800, 1344), (1344, 800)),
        "fastmask_r39": ((972, 1300), (1300, 972)),
        "lsc_mask_rcnn_tiny": ((480, 480),),
    }
    for name, canvases in wanted.items():
        assert canvases_of(load_recipe(name), "portrait-landscape") == canvases


def test_buckets_hold_large_pictures_of_their_shapes() -> None:
    mask_rcnn = canvases_of(load_recipe("mask_rcnn_r50_c4"), "buckets")
    assert mask_rcnn == (
        *((800, 1200), (1200, 800), (800, 1072), (1072, 800), (752, 1344), (1344, 752)),
        (800, 800),
    )
    fastmask = canvases_of(load_recipe("fastmask_r39"), "buckets")
    assert fastmask[:2] == ((864, 1300), (1300, 864))
    assert (972, 1300) in fastmask
    assert fastmask[-1] == (1300, 1300)


def test_sizes_are_taken_as_they_are_and_once() -> None:
    recipe = load_recipe("fastmask_r39")
    assert canvases_of(recipe, [(64, 96), (96, 64)]) == ((64, 96), (96, 64))
    for wrong in ([], [(64, 96), (64, 96)]):
        with pytest.raises(ConfigError, match="none or one twice"):
            canvases_of(recipe, wrong)
    with pytest.raises(ConfigError, match="expected portrait-landscape or buckets"):
        canvases_of(recipe, "both")  # type: ignore[arg-type]
