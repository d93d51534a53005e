"""The inputs that operators are timed on: proposals on maps of the shipped recipes, windows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...engines.plugins.operator_config import (
    OperatorCfg,
    PyramidRoiAlignCfg,
    RoiAlignCfg,
    WindowAlignCfg,
)
from ...eval.timing.operators import proposal_boxes

Array = npt.NDArray[Any]

STRIDE_PX = 16
FPN_CANVAS_HW = (800, 1344)
FPN_STRIDES_PX = (4, 8, 16, 32)
FPN_BORDERS_PX2 = (112.0**2, 224.0**2, 448.0**2)
"""Of Mask R-CNN FPN, whose levels 2 to 5 boxes are pooled from."""
FASTMASK_LEVELS = ((61, 82), (41, 55), (31, 41), (21, 28), (16, 21), (11, 14), (8, 11), (6, 7))
"""Of `fastmask_r39` on its 972x1300 canvas."""


@dataclass(frozen=True)
class Case:
    """One operator on one set of inputs."""

    operator: str
    title: str
    cfg: OperatorCfg
    first: Array
    """Map (B, C, H, W), atlas (B, C, R, V) or packed pyramid (B, N, C), FP32."""
    second: Array
    """Boxes (B, K, 4) float32 or window numbers (B, K) int64."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the operator's output."""
        return tuple(self.cfg.output_shape(self.first.shape, self.second.shape))

    def inputs(self, half: bool) -> tuple[Array, Array]:
        """Both inputs, the first in the precision asked for."""
        return self.first.astype(np.float16 if half else np.float32), self.second

    def least_bytes(self, half: bool) -> int:
        """Inputs read once and output written once."""
        elements = self.first.size + int(np.prod(self.output_shape))
        return elements * (2 if half else 4) + self.second.nbytes


def roi_align_case(
    map_shape: tuple[int, int, int, int], boxes: int, bin_step: int = 1, seed: int = 0
) -> Case:
    """RoIAlign of random proposals on one random map: 14 x 14 bins, 2 samples, stride 16."""
    cfg = RoiAlignCfg(output_size=14, sampling_ratio=2, bin_step=bin_step, stride_px=STRIDE_PX)
    batch, _, height, width = map_shape
    canvas_hw = (height * STRIDE_PX, width * STRIDE_PX)
    shown = "x".join(map(str, map_shape))
    step = "" if bin_step == 1 else f" with step {bin_step}"
    return Case(
        operator="MaskrtRoiAlign",
        title=f"MaskrtRoiAlign: map {shown}, {boxes} boxes, 14x14 bins{step}, 2 samples",
        cfg=cfg,
        first=np.random.default_rng(seed).uniform(-1, 1, map_shape).astype(np.float32),
        second=np.concatenate([proposal_boxes(boxes, canvas_hw, seed + i) for i in range(batch)]),
    )


def pyramid_roi_align_case(
    canvas_hw: tuple[int, int],
    channels: int,
    boxes: int,
    output_size: int,
    sampling_ratio: int,
    seed: int = 0,
) -> Case:
    """RoIAlign of random proposals of one picture over one random pyramid of strides 4 to 32."""
    levels = tuple((-(-canvas_hw[0] // s), -(-canvas_hw[1] // s)) for s in FPN_STRIDES_PX)
    shape = (1, channels, sum(h + 1 for h, _ in levels) - 1, levels[0][1])
    samples = f"{sampling_ratio} samples" if sampling_ratio else "adaptive"
    canvas = "x".join(map(str, canvas_hw))
    bins = f"{output_size}x{output_size} bins"
    shown = f"of {canvas} px, {channels} channels, {boxes} boxes, {bins}, {samples}"
    return Case(
        operator="MaskrtPyramidRoiAlign",
        title=f"MaskrtPyramidRoiAlign: pyramid {shown}",
        cfg=PyramidRoiAlignCfg(
            output_size, sampling_ratio, True, levels, FPN_STRIDES_PX, FPN_BORDERS_PX2
        ),
        first=np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32),
        second=proposal_boxes(boxes, canvas_hw, seed),
    )


def window_align_case(
    levels: Sequence[tuple[int, int]], channels: int, windows: int, seed: int = 0
) -> Case:
    """WindowAlign of random windows of 10 x 10 cells out of one random pyramid."""
    rng = np.random.default_rng(seed)
    cells = sum(h * w for h, w in levels)
    numbers = sum((h + 1) * (w + 1) for h, w in levels)
    return Case(
        operator="MaskrtWindowAlign",
        title=f"MaskrtWindowAlign: pyramid 1x{cells}x{channels}, {windows} windows, 10x10 cells",
        cfg=WindowAlignCfg(10, tuple(levels)),
        first=rng.uniform(-1, 1, (1, cells, channels)).astype(np.float32),
        second=rng.integers(numbers, size=(1, windows)),
    )


CASES: tuple[Callable[[], Case], ...] = (
    *(
        functools.partial(roi_align_case, (1, 256, 50, width), boxes)
        for width in (76, 84)
        for boxes in (300, 1000)
    ),
    functools.partial(roi_align_case, (1, 1024, 50, 84), 300, 2),
    functools.partial(pyramid_roi_align_case, FPN_CANVAS_HW, 256, 1000, 7, 2),
    functools.partial(pyramid_roi_align_case, FPN_CANVAS_HW, 256, 1000, 7, 0),
    functools.partial(pyramid_roi_align_case, FPN_CANVAS_HW, 256, 100, 14, 2),
    functools.partial(window_align_case, FASTMASK_LEVELS, 128, 1000),
)
"""Made one after the other: the largest have gigabytes of outputs."""
