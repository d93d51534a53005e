"""Box-frame masks to the pixels of a picture, and pixels to the ends of COCO's runs, in Triton.

`paste_masks` computes what `runtime/masks.py` specifies, in the same order and with the same
roundings, so that the same pixels come out: positions in float64, then one step along y, one along
x, each a product and a sum rounded apart (compiled without fused multiply-add). Pixels go down
columns first, as COCO counts them.

`mark_runs` sets a bit where a pixel differs from the one before it in that order (the first: from
background). Those places are where COCO's runs end, so the host reads one bit per pixel.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"

import triton
import triton.language as tl

# Pixels of a picture in one program's tile.
ROWS = 128
COLUMNS = 8
# Words of 32 pixels in one program's part of a mask.
WORDS = 128
WARPS = 4


@triton.jit
def _cells(at, low, high, cells):
    """Per pixel the cell before its centre (0: zeros before the map), and the way to the next."""
    start = low.to(tl.float64)
    extent = high.to(tl.float64) - start
    has_extent = extent > 0.0  # not when a side is NaN
    u = (at.to(tl.float64) + (0.5 - start)) / tl.where(has_extent, extent, 1.0)
    u = u * cells.to(tl.float64) - 0.5 + 1.0
    u = tl.where(has_extent, u, 0.0)
    u = tl.minimum(tl.maximum(u, 0.0), cells.to(tl.float64) + 1.0)
    cell = tl.minimum(u.to(tl.int32), cells)
    return cell, (u - cell.to(tl.float64)).to(tl.float32)


@triton.jit
def _value(mask, row, column, cells):
    """The map's values at (columns, rows), zero outside it; 1 is its first cell."""
    inside_row = (row >= 1) & (row <= cells)
    inside_column = (column >= 1) & (column <= cells)
    inside = inside_column[:, None] & inside_row[None, :]
    at = ((row - 1) * cells)[None, :] + (column - 1)[:, None]
    return tl.load(mask + at, mask=inside, other=0.0)


@triton.jit
def paste_masks(
    masks,  # (D, m, m) float32 probabilities
    boxes,  # (D, 4) float32 xyxy picture px
    cells,  # m
    height,
    width,
    threshold_bits,  # of a float32
    pixels,  # (D, w, h) uint8: 1 where the value reaches the threshold
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Grid: (D, cdiv(w, COLUMNS), cdiv(h, ROWS))."""
    slot = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    x_0 = tl.load(boxes + slot * 4)
    y_0 = tl.load(boxes + slot * 4 + 1)
    x_1 = tl.load(boxes + slot * 4 + 2)
    y_1 = tl.load(boxes + slot * 4 + 3)
    cell_x, way_x = _cells(column, x_0, x_1, cells)
    cell_y, way_y = _cells(row, y_0, y_1, cells)

    mask = masks + slot.to(tl.int64) * cells * cells
    here = _value(mask, cell_y, cell_x, cells)
    below = _value(mask, cell_y + 1, cell_x, cells)
    left = (below - here) * way_y[None, :] + here
    here = _value(mask, cell_y, cell_x + 1, cells)
    below = _value(mask, cell_y + 1, cell_x + 1, cells)
    right = (below - here) * way_y[None, :] + here
    value = (right - left) * way_x[:, None] + left

    threshold = threshold_bits.to(tl.float32, bitcast=True)
    at = (column * height)[:, None] + row[None, :]
    inside = (column < width)[:, None] & (row < height)[None, :]
    target = pixels + slot.to(tl.int64) * height * width
    tl.store(target + at, (value >= threshold).to(tl.uint8), mask=inside)


@triton.jit
def mark_runs(
    masks,  # (D, n) uint8, 0 or 1
    pixels,  # n, of one mask
    words,  # cdiv(n, 32)
    marks,  # (D, words) int32: bit b of word i is pixel 32 i + b
    WORDS: tl.constexpr,
):
    """Grid: (D, cdiv(words, WORDS))."""
    slot = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    first = word * 32
    mask = masks + slot * pixels
    before = tl.load(mask + first - 1, mask=(first > 0) & (first <= pixels), other=0)
    marked = tl.zeros((WORDS,), tl.int32)
    for bit in tl.static_range(32):
        inside = first + bit < pixels
        here = tl.load(mask + first + bit, mask=inside, other=0)
        marked |= ((here != before) & inside).to(tl.int32) << bit
        before = here
    tl.store(marks + slot * words + word, marked, mask=word < words)
