"""What both plugin layers share: attributes as export writes them, shapes, launches."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from maskrt.engines.plugins.operator_config import (
    PyramidRoiAlignCfg,
    RoiAlignCfg,
    WindowAlignCfg,
    parse_pyramid_roi_align,
    parse_roi_align,
    parse_window_align,
    require_words,
)
from maskrt.export.operators.pyramid_roi_align import pyramid_roi_align_attributes
from maskrt.export.operators.roi_align import roi_align_attributes
from maskrt.export.operators.window_align import window_align_attributes
from maskrt.runtime.errors import BuildError
from maskrt.runtime.gpu.kernels.shipped import Kernel, load_kernel


def named_scalars(kernel: Kernel, scalars: tuple[Any, ...]) -> dict[str, Any]:
    """The int32 arguments by name: two input pointers before, one output pointer after."""
    return dict(zip(kernel.arguments[2:-1], scalars, strict=True))


@pytest.mark.parametrize(
    ("bins", "scale", "samples", "step"), [(14, 1 / 16, 2, 1), (7, 1 / 12, 0, 3)]
)
def test_roi_align_attributes_are_read_as_export_writes_them(
    bins: int, scale: float, samples: int, step: int
) -> None:
    text = str(roi_align_attributes(bins, scale, samples, step)["cfg"])
    assert parse_roi_align(text) == RoiAlignCfg(bins, samples, step, round(1 / scale))
    assert parse_roi_align(text + "\0") == parse_roi_align(text)  # as TensorRT hands it on


def test_a_scale_that_went_through_float32_is_understood() -> None:
    text = "oh=7;ow=7;sr=0;step=1;scale=0.0833333358168602;aligned=1"
    assert parse_roi_align(text) == RoiAlignCfg(7, 0, 1, 12)


def test_pyramid_roi_align_attributes_are_read_as_export_writes_them() -> None:
    written = (7, 0, 0, [200, 336, 100, 168, 50, 84], [4, 8, 16], [12543.996, 50175.99])
    text = str(pyramid_roi_align_attributes(*written)["cfg"])
    levels, borders = ((200, 336), (100, 168), (50, 84)), (12543.99609375, 50175.98828125)
    wanted = PyramidRoiAlignCfg(7, 0, False, levels, (4, 8, 16), borders)
    assert parse_pyramid_roi_align(text) == wanted
    assert parse_pyramid_roi_align(text + "\0") == wanted


PYRAMID = "size=7;sr=2;aligned=1;shapes=9x9,5x5;strides=4,8;borders=784.0"


@pytest.mark.parametrize(
    ("found", "instead", "expected"),
    [
        ("size=7;", "", "size=..;sr=..;aligned=..;shapes=..;strides=..;borders=.."),
        ("9x9", "9x", "whole numbers, shapes as HxW,HxW"),
        ("size=7", "size=0", "size of at least 1"),
        ("sr=2", "sr=-1", "sr of at least 0"),
        ("aligned=1", "aligned=2", "aligned 0 or 1"),
        ("5x5", "5x0", "a stride of at least 1 for each level"),
        ("strides=4,8", "strides=4", "a border between two"),
        ("784.0", "784.0,3136.0", "a border between two"),
    ],
)
def test_a_broken_pyramid_is_refused(found: str, instead: str, expected: str) -> None:
    with pytest.raises(BuildError, match=f"MaskrtPyramidRoiAlign: cfg .* expected .*{expected}"):
        parse_pyramid_roi_align(PYRAMID.replace(found, instead))


def test_a_pyramid_s_levels_are_the_kernel_s_arguments() -> None:
    kernel = load_kernel("pyramid_roi_align_fp16", "8.9")
    cfg = parse_pyramid_roi_align(PYRAMID)
    launch = cfg.launch(kernel, (2, 20, 15, 9), (2, 300, 4), half=True)
    assert launch.grid == (600, 3, 1)
    named = named_scalars(kernel, launch.scalars)
    assert list(named.values())[:8] == [2, 300, 20, 15, 9, 7, 2, 1]
    bits = int(np.float32(784).view(np.int32))
    assert [named[f"levels.{i}"] for i in range(8)] == [9, 9, 4, 0, 5, 5, 8, bits]
    assert not any(named[f"levels.{i}"] for i in range(8, 32))
    assert cfg.output_shape((2, 20, 15, 9), (2, 300, 4)) == (600, 20, 7, 7)
    nine = dataclasses.replace(cfg, levels=((5, 5),) * 9, strides_px=(4,) * 9)
    nine = dataclasses.replace(nine, borders_px2=(1.0,) * 8)
    with pytest.raises(BuildError, match="9 levels found; the kernel takes at most 8"):
        nine.launch(kernel, (1, 8, 53, 5), (1, 9, 4), half=True)


def test_window_align_attributes_are_read_as_export_writes_them() -> None:
    text = str(window_align_attributes(10, [50, 76, 34, 51])["cfg"])
    assert parse_window_align(text) == WindowAlignCfg(10, ((50, 76), (34, 51)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "oh=..;ow=..;sr=..;step=..;scale=..;aligned=.."),
        ("oh=7;ow=7;sr=2;step=1;scale=0.25", "oh=..;ow=.."),
        ("oh=7;ow=7;sr=x;step=1;scale=0.25;aligned=1", "whole numbers"),
        ("oh=7;ow=8;sr=2;step=1;scale=0.25;aligned=1", "oh = ow"),
        ("oh=7;ow=7;sr=-1;step=1;scale=0.25;aligned=1", "sr of at least 0"),
        ("oh=7;ow=7;sr=2;step=0;scale=0.25;aligned=1", "step of at least 1"),
        ("oh=7;ow=7;sr=2;step=1;scale=0.25;aligned=0", "aligned 1"),
        ("oh=7;ow=7;sr=2;step=1;scale=0.3;aligned=1", "one divided by a whole number"),
        ("oh=7;ow=7;sr=2;step=1;scale=0;aligned=1", "one divided by a whole number"),
        ("oh=7;ow=7;sr=2;step=1;scale=4;aligned=1", "one divided by a whole number"),
    ],
)
def test_broken_roi_align_attributes_are_refused(text: str, expected: str) -> None:
    with pytest.raises(BuildError, match=f"MaskrtRoiAlign: cfg '{text}' found; .*{expected}"):
        parse_roi_align(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("size=10", "size=..;shapes=.."),
        ("size=10;shapes=5x6x7", "shapes as HxW"),
        ("size=9;shapes=5x6", "an even size"),
        ("size=10;shapes=5x6,0x3", "shapes of at least 1x1"),
    ],
)
def test_broken_window_align_attributes_are_refused(text: str, expected: str) -> None:
    with pytest.raises(BuildError, match=f"MaskrtWindowAlign: cfg '{text}' found; .*{expected}"):
        parse_window_align(text)


def test_roi_align_launch() -> None:
    kernel = load_kernel("roi_align_fp16", "8.9")
    cfg = RoiAlignCfg(output_size=20, sampling_ratio=2, bin_step=1, stride_px=16)
    launch = cfg.launch(kernel, (2, 60, 50, 84), (2, 300, 4), half=True)
    assert cfg.output_shape((2, 60, 50, 84), (2, 300, 4)) == (600, 60, 20, 20)
    assert launch.grid == (600, 8, 4)  # 60 channels by 8; 20 x 20 bins in tiles of 16 x 16
    assert named_scalars(kernel, launch.scalars) == {
        "batch": 2,
        "boxes": 300,
        "channels": 60,
        "height": 50,
        "width": 84,
        "output_size": 20,
        "sampling_ratio": 2,
        "bin_step": 1,
        "stride": 16,
    }


def test_roi_align_launch_for_every_third_bin() -> None:
    kernel = load_kernel("roi_align_fp32", "8.9")
    cfg = RoiAlignCfg(output_size=50, sampling_ratio=0, bin_step=3, stride_px=16)
    launch = cfg.launch(kernel, (1, 8, 50, 84), (1, 9, 4), half=False)
    assert cfg.output_shape((1, 8, 50, 84), (1, 9, 4)) == (9, 8, 17, 17)
    assert launch.grid == (9, 1, 4)
    assert named_scalars(kernel, launch.scalars)["bin_step"] == 3


@pytest.mark.parametrize(("half", "words"), [(True, 64), (False, 128)])
def test_window_align_launch(half: bool, words: int) -> None:
    kernel = load_kernel("window_align", "8.9")
    cfg = WindowAlignCfg(10, ((50, 76), (34, 51)))
    launch = cfg.launch(kernel, (2, 5534, 128), (2, 500), half)
    assert cfg.output_shape((2, 5534, 128), (2, 500)) == (1000, 10, 10, 128)
    assert launch.grid == (1000, 4, 1)  # 100 cells by 32
    named = named_scalars(kernel, launch.scalars)
    sides = [named.pop(f"shapes.{i}") for i in range(2 * kernel.blocks["LEVELS"])]
    assert sides == [50, 76, 34, 51] + [0] * (len(sides) - 4)
    assert named == {"batch": 2, "slots": 500, "cells": 5534, "words": words, "size": 10}


def test_a_grid_is_never_empty() -> None:
    roi, windows = load_kernel("roi_align_fp32", "8.0"), load_kernel("window_align", "8.0")
    launch = RoiAlignCfg(7, 2, 1, 16).launch(roi, (1, 8, 5, 5), (1, 0, 4), half=False)
    assert launch.grid == (1, 1, 1)
    launch = WindowAlignCfg(10, ((5, 5),)).launch(windows, (1, 25, 8), (1, 0), half=False)
    assert launch.grid == (1, 4, 1)


def test_more_levels_than_the_kernel_has_arguments_are_refused() -> None:
    kernel = load_kernel("window_align", "8.0")
    cfg = WindowAlignCfg(10, ((5, 5),) * 17)
    with pytest.raises(BuildError, match="17 levels found; the kernel takes at most 16"):
        cfg.launch(kernel, (1, 425, 8), (1, 9), half=False)


def test_cells_of_half_a_word_are_refused() -> None:
    require_words(7, half=False)
    require_words(8, half=True)
    with pytest.raises(BuildError, match="MaskrtWindowAlign: 7 FP16 channels found"):
        require_words(7, half=True)
