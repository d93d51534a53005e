"""RoIAlign as one Triton kernel, and what a pyramid's shares with it; mathematics in `reference`.

A program makes one tile of 16 x 16 bins of one box for `CHANNELS` channels. Bilinear weights and
the boundary rule act on rows and columns alone, so the mean of a bin's samples is a bilinear form

    Y[c] = Wy . X[c] . Wx^T    Wx (P, W): mean over S samples of max(0, 1 - |sample - cell|)

and both products run on tensor cores. Only cells the box covers are read, 16 x 16 at a time, each
once and along the rows of X (a sampling kernel reads 4 S S cells per bin, scattered); boxes vary
fastest over the grid, so the planes of a channel block stay in the L1 cache meanwhile.

`PRODUCT` says how FP32 products are made of what a target has: "halves" splits an FP32 factor into
two FP16 terms (21 bits; FP16 features are exact in one), "tf32x3" is Triton's own splitting and
"ieee" plain FP32. Boxes, weights and sums are FP32 in all of them.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"

import triton
import triton.language as tl

# Bins and cells per tile side: the least that a tensor core's product takes.
TILE = 16
CHANNELS = 8
# With 4 warps Triton turns to Hopper's and Blackwell's instructions for large products, which need
# more set-up than products of 16 x 16 are worth.
WARPS = 2


@triton.jit
def _axis_samples(low, high, bins, fixed, most):
    """Samples per bin along one axis, and the way from one to the next in cells."""
    extent = high - low
    samples = fixed
    if fixed == 0:
        wanted = tl.ceil(tl.div_rn(extent, bins.to(tl.float32)))
        samples = tl.minimum(tl.maximum(wanted, 0.0), most.to(tl.float32)).to(tl.int32)
    return samples, tl.div_rn(extent, tl.maximum(bins * samples, 1).to(tl.float32))


@triton.jit
def _covered(low, step, samples, size, first_bin, last_bin):
    """First cell and end of the cells that the samples of some bins touch; equal where none."""
    a = low + (first_bin * samples).to(tl.float32) * step
    b = low + (last_bin * samples).to(tl.float32) * step
    nearest, farthest = tl.minimum(a, b), tl.maximum(a, b)
    last = size.to(tl.float32) - 1.0
    first = tl.minimum(tl.maximum(nearest, 0.0), last).to(tl.int32)
    end = tl.minimum(tl.maximum(farthest, 0.0), last).to(tl.int32) + 2
    # False for NaN, whose samples are all outside.
    reached = (nearest <= last + 1.0) & (farthest >= -1.0) & (samples > 0)
    return first, tl.where(reached, tl.minimum(end, size), first)


@triton.jit
def _weights(low, step, samples, size, first_bin, bin_step, first_cell, TILE: tl.constexpr):
    """(cells, bins) mean interpolation weights along one axis."""
    bins = first_bin + tl.arange(0, TILE) * bin_step
    cells = (first_cell + tl.arange(0, TILE)).to(tl.float32)
    last = size.to(tl.float32) - 1.0
    total = tl.zeros((TILE, TILE), tl.float32)
    for sample in range(samples):
        at = low + ((bins * samples + sample).to(tl.float32) + 0.5) * step
        inside = (at >= -1.0) & (at <= last + 1.0)
        # -2 is out of reach of every cell
        at = tl.where(inside, tl.minimum(tl.maximum(at, 0.0), last), -2.0)
        total += tl.maximum(1.0 - tl.abs(at[None, :] - cells[:, None]), 0.0)
    return total * tl.div_rn(1.0, samples.to(tl.float32))


@triton.jit
def _product(a, b, total, PRODUCT: tl.constexpr):
    """`total` + a . b, in FP32."""
    if PRODUCT == "halves":
        b_high = b.to(tl.float16)
        b_low = (b - b_high.to(tl.float32)).to(tl.float16)
        a_high = a.to(tl.float16)
        total = tl.dot(a_high, b_high, tl.dot(a_high, b_low, total))
        if a.dtype == tl.float32:
            total = tl.dot((a - a_high.to(tl.float32)).to(tl.float16), b_high, total)
    else:
        total = tl.dot(a.to(tl.float32), b, total, input_precision=PRODUCT)
    return total


@triton.jit
def pool_box(
    image,  # first plane to read: of a picture's first channel of this program
    plane_cells,  # from a plane to the next
    row_cells,  # from a row to the next
    height,
    width,
    x_0,  # the box in cells
    y_0,
    x_1,
    y_1,
    output_size,
    sampling_ratio,
    bin_step,
    channels,  # that are left from the first on
    output,  # where this box's first channel of this program begins
    CHANNELS: tl.constexpr,
    TILE: tl.constexpr,
    PRODUCT: tl.constexpr,
):
    """Make one tile of one box's bins; grid axis 2 counts tiles."""
    side = tl.cdiv(output_size, bin_step)
    tiles = tl.cdiv(side, TILE)
    tile_y = tl.program_id(2) // tiles * TILE
    tile_x = tl.program_id(2) % tiles * TILE
    bin_y = tile_y * bin_step
    bin_x = tile_x * bin_step

    most = tl.cdiv(tl.maximum(height, width), output_size)
    samples_x, step_x = _axis_samples(x_0, x_1, output_size, sampling_ratio, most)
    samples_y, step_y = _axis_samples(y_0, y_1, output_size, sampling_ratio, most)
    end_bin_x = (tl.minimum(tile_x + TILE, side) - 1) * bin_step + 1
    end_bin_y = (tl.minimum(tile_y + TILE, side) - 1) * bin_step + 1
    start_x, end_x = _covered(x_0, step_x, samples_x, width, bin_x, end_bin_x)
    start_y, end_y = _covered(y_0, step_y, samples_y, height, bin_y, end_bin_y)

    # Addresses are clamped instead of masked: weights of cells past the end are zero.
    channel = tl.arange(0, CHANNELS)
    plane = tl.minimum(channel, channels - 1) * plane_cells
    bins = tl.zeros((CHANNELS * TILE, TILE), tl.float32)  # (c x, y)
    for y in range(start_y, end_y, TILE):
        row = tl.minimum(y + tl.arange(0, TILE), end_y - 1) * row_cells
        at_row = tl.reshape(plane[:, None] + row[None, :], (CHANNELS * TILE,))
        columns = tl.zeros((CHANNELS * TILE, TILE), tl.float32)  # (c row, x)
        for x in range(start_x, end_x, TILE):
            column = tl.minimum(x + tl.arange(0, TILE), end_x - 1)
            cells = tl.load(image + (at_row[:, None] + column[None, :]))
            weights = _weights(x_0, step_x, samples_x, width, bin_x, bin_step, x, TILE)
            columns = _product(cells, weights, columns, PRODUCT)
        turned = tl.permute(tl.reshape(columns, (CHANNELS, TILE, TILE)), (0, 2, 1))
        weights = _weights(y_0, step_y, samples_y, height, bin_y, bin_step, y, TILE)
        bins = _product(tl.reshape(turned, (CHANNELS * TILE, TILE)), weights, bins, PRODUCT)

    values = tl.permute(tl.reshape(bins, (CHANNELS, TILE, TILE)), (0, 2, 1))  # (c, y, x)
    y = tile_y + tl.arange(0, TILE)
    x = tile_x + tl.arange(0, TILE)
    area = side * side
    at = (channel * area)[:, None, None] + (y * side)[None, :, None] + x[None, None, :]
    inside = (y < side)[None, :, None] & (x < side)[None, None, :]
    inside = inside & (channel < channels)[:, None, None]
    tl.store(output + at, values.to(output.dtype.element_ty), mask=inside)


@triton.jit
def roi_align(
    features,  # (B, C, H, W)
    rois,  # (B, K, 4) float32 xyxy canvas px
    batch,
    boxes,
    channels,
    height,
    width,
    output_size,
    sampling_ratio,  # 0: adaptive
    bin_step,  # only every such bin is made, Q = cdiv(P, bin_step) along a side
    stride,  # canvas px per cell
    output,  # (B * K, C, Q, Q), dtype of the features
    CHANNELS: tl.constexpr,
    TILE: tl.constexpr,
    PRODUCT: tl.constexpr,
):
    """Grid: (B * K, cdiv(C, CHANNELS), cdiv(Q, TILE) ** 2), at least 1 each."""
    slot = tl.program_id(0)
    if slot >= batch * boxes:
        return
    first_channel = tl.program_id(1) * CHANNELS

    # stride is a power of two in practice: then this is exact
    scale = tl.div_rn(1.0, stride.to(tl.float32))
    x_0 = tl.load(rois + slot * 4) * scale - 0.5
    y_0 = tl.load(rois + slot * 4 + 1) * scale - 0.5
    x_1 = tl.load(rois + slot * 4 + 2) * scale - 0.5
    y_1 = tl.load(rois + slot * 4 + 3) * scale - 0.5

    plane_cells = height * width
    first = (slot // boxes).to(tl.int64) * channels + first_channel
    side = tl.cdiv(output_size, bin_step)
    start = output + (slot.to(tl.int64) * channels + first_channel) * (side * side)
    pool_box(
        features + first * plane_cells,
        plane_cells,
        width,
        height,
        width,
        x_0,
        y_0,
        x_1,
        y_1,
        output_size,
        sampling_ratio,
        bin_step,
        channels - first_channel,
        start,
        CHANNELS,
        TILE,
        PRODUCT,
    )
