"""The ONNX operator `MaskrtPyramidRoiAlign`: RoIAlign that takes each box's level by its area.

    X (B, C, R, V) atlas, rois (B, K, 4) xyxy canvas pixels -> Y (B * K, C, P, P)

The levels come as one map, the *atlas*, below each other with a row of zeros between them: calls
for boxes and for masks share it. `atlas_body` is how a node is computed anywhere;
`engines/kernels/reference.py` is the specification of this operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import onnx
from onnx import parser

from ...runtime.errors import ExportError
from .atlas_body import body_text
from .domain import MIN_OPSET

PYRAMID_ROI_ALIGN = "MaskrtPyramidRoiAlign"

# GridSample is of opset 16; opset 20 renamed its mode.
MAX_OPSET = 19


def pyramid_roi_align_attributes(
    output_size: int,
    sampling_ratio: int,
    aligned: int,
    spatial_shapes: Sequence[int],
    strides: Sequence[int],
    borders: Sequence[float],
) -> dict[str, object]:
    """What a node computes, as attributes, with the table the body reads and `cfg` for plugins.

    Args:
        output_size: bins along each side of a box, >= 1.
        sampling_ratio: samples along each side of a bin; 0 is adaptive.
        aligned: 1 where pixel and cell centres are both at +0.5, else 0.
        spatial_shapes: h0, w0, h1, w1, ... of the L levels, finest first, L >= 2.
        strides: L, canvas pixels per cell.
        borders: L - 1 rising areas in px^2; a box is on the level of as many as it reaches.

    Raises:
        ExportError: a value is out of its range, or the lists do not belong together.

    """
    shapes, steps = [int(side) for side in spatial_shapes], [int(step) for step in strides]
    areas = [float(np.float32(area)) for area in borders]
    levels = list(zip(shapes[::2], shapes[1::2], strict=False))
    fitting = len(shapes) == 2 * len(steps) == 2 * len(areas) + 2 and len(areas) > 0
    positive = fitting and min(*shapes, *steps, output_size, *areas) > 0 and areas == sorted(areas)
    if not positive or sampling_ratio < 0 or aligned not in (0, 1):
        raise ExportError(
            f"{PYRAMID_ROI_ALIGN}: output_size {output_size}, sampling_ratio {sampling_ratio},"
            f" aligned {aligned}, spatial_shapes {shapes}, strides {steps}, borders {areas} found;"
            " expected sizes of at least 1, at least 0, 0 or 1, two sides and a stride for each of"
            " two or more levels, and between them rising areas. Correct the recipe."
        )
    cfg = f"size={output_size};sr={sampling_ratio};aligned={int(aligned)};shapes="
    cfg += ",".join(f"{height}x{width}" for height, width in levels)
    cfg += f";strides={','.join(map(str, steps))};borders={','.join(map(repr, areas))}"
    return {
        "output_size": int(output_size),
        "sampling_ratio": int(sampling_ratio),
        "aligned": int(aligned),
        "spatial_shapes": shapes,
        "strides": steps,
        "borders": areas,
        "table": _table(levels, steps, output_size),
        "cfg": cfg,
    }


def _table(
    levels: Sequence[tuple[int, int]], strides: Sequence[int], output_size: int
) -> list[float]:
    """Each level's scale, width, height, first row in the atlas, most samples a side."""
    tops = accumulate((height + 1 for height, _ in levels), initial=0)
    table: list[float] = []
    for (height, width), top, stride in zip(levels, tops, strides, strict=False):
        most = -(-max(height, width) // output_size)
        table += [1 / stride, width, height, top, most]
    return table


def pyramid_roi_align_function(
    opset: int = MIN_OPSET, adaptive: bool = False
) -> onnx.FunctionProto:
    """The local function of `MaskrtPyramidRoiAlign`.

    Inputs `X` (B, C, R, V) float32 or float16, an atlas, and `rois` (B, K, 4) float32 xyxy canvas
    pixels; output (B * K, C, P, P) in X's dtype, boxes of image 0 first. One function serves every
    call, of whatever levels.

    Args:
        opset: of the model's standard operators.
        adaptive: serve calls with sampling ratio 0 and, one sample after the other, fixed ones.

    Raises:
        ExportError: `opset` is not 17 to 19.

    """
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ExportError(
            f"{PYRAMID_ROI_ALIGN}: opset {opset} found; expected {MIN_OPSET} to {MAX_OPSET}, where"
            " GridSample is written this way. Export with one of these."
        )
    return parser.parse_function(body_text(opset, adaptive=adaptive))
