"""RoIAlign over the levels in an atlas as one Triton kernel; mathematics: `reference`.

A program finds its box's level, where that begins and its size, and then does what RoIAlign does
on one map: `roi_align_kernel.pool_box`, whose rows and planes are the atlas' apart here.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"

import triton
import triton.language as tl

from .roi_align_kernel import pool_box

# Levels of the longest pyramid the kernel takes; it gets zeros for the rest.
LEVELS = 8


@triton.jit
def pyramid_roi_align(
    atlas,  # (B, C, R, V)
    rois,  # (B, K, 4) float32 xyxy canvas px
    batch,
    boxes,
    channels,
    atlas_rows,  # R
    row_cells,  # V
    output_size,
    sampling_ratio,  # 0: adaptive
    aligned,  # 1 or 0
    levels,  # height, width, stride, bits of the float32 border below it, of each level
    output,  # (B * K, C, P, P), dtype of the atlas
    CHANNELS: tl.constexpr,
    TILE: tl.constexpr,
    PRODUCT: tl.constexpr,
    LEVELS: tl.constexpr,
):
    """Grid: (B * K, cdiv(C, CHANNELS), cdiv(P, TILE) ** 2), at least 1 each."""
    slot = tl.program_id(0)
    if slot >= batch * boxes:
        return
    x_0 = tl.load(rois + slot * 4)
    y_0 = tl.load(rois + slot * 4 + 1)
    x_1 = tl.load(rois + slot * 4 + 2)
    y_1 = tl.load(rois + slot * 4 + 3)
    area = (x_1 - x_0) * (y_1 - y_0)
    top = 0
    height, width, stride = levels[0], levels[1], levels[2]
    next_top = height + 1
    for level in tl.static_range(1, LEVELS):
        h, w = levels[4 * level], levels[4 * level + 1]
        border = levels[4 * level + 3].to(tl.float32, bitcast=True)
        reached = (h > 0) & (area >= border)  # not by NaN
        top = tl.where(reached, next_top, top)
        height = tl.where(reached, h, height)
        width = tl.where(reached, w, width)
        stride = tl.where(reached, levels[4 * level + 2], stride)
        next_top += h + 1

    # strides are powers of two in practice: then this is exact
    scale = tl.div_rn(1.0, stride.to(tl.float32))
    shift = 0.5 * aligned.to(tl.float32)
    x_0 = x_0 * scale - shift
    y_0 = y_0 * scale - shift
    x_1 = x_1 * scale - shift
    y_1 = y_1 * scale - shift
    x_1 = tl.where(aligned == 0, tl.maximum(x_1, x_0 + 1.0), x_1)
    y_1 = tl.where(aligned == 0, tl.maximum(y_1, y_0 + 1.0), y_1)

    first_channel = tl.program_id(1) * CHANNELS
    plane_cells = atlas_rows * row_cells
    first = (slot // boxes).to(tl.int64) * channels + first_channel
    bins = output + (slot.to(tl.int64) * channels + first_channel) * (output_size * output_size)
    pool_box(
        atlas + first * plane_cells + top * row_cells,
        plane_cells,
        row_cells,
        height,
        width,
        x_0,
        y_0,
        x_1,
        y_1,
        output_size,
        sampling_ratio,
        1,
        channels - first_channel,
        bins,
        CHANNELS,
        TILE,
        PRODUCT,
    )
