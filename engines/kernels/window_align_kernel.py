"""WindowAlign as one Triton kernel; its definition is in `reference`.

Windows are copied, never computed with, so the kernel moves 32-bit words: the same file serves FP32
and FP16 (two channels a word). Channels are last and contiguous, in and out.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"

import triton
import triton.language as tl

# Levels of the longest pyramid the kernel takes; it gets the shapes of the rest as zeros.
LEVELS = 16
# Cells and words of one program's tile: with 128 channels in FP16 a cell is one row of it.
CELLS = 32
WORDS = 64
WARPS = 4


@triton.jit
def window_align(
    pyramid,  # (B, N, words) int32
    index,  # (B, K) int64
    batch,
    slots,
    cells,  # N
    words,  # per cell
    size,  # cells per side of a window
    shapes,  # h, w of each level
    output,  # (B * K, size, size, words) int32
    LEVELS: tl.constexpr,
    CELLS: tl.constexpr,
    WORDS: tl.constexpr,
):
    """Grid: (B * K, cdiv(size ** 2, CELLS)), at least 1 each."""
    slot = tl.program_id(0)
    if slot >= batch * slots:
        return
    window = tl.load(index + slot).to(tl.int32)
    # A window past the last is in no level: a level of no cells, so all of it is zero.
    first_window, first_cell, start, local, height, width = 0, 0, 0, 0, 0, 0
    for level in tl.static_range(LEVELS):
        h, w = shapes[2 * level], shapes[2 * level + 1]
        count = tl.where(h > 0, (h + 1) * (w + 1), 0)
        found = (window >= first_window) & (window < first_window + count)
        local = tl.where(found, window - first_window, local)
        start = tl.where(found, first_cell, start)
        height = tl.where(found, h, height)
        width = tl.where(found, w, width)
        first_window += count
        first_cell += h * w

    cell = tl.program_id(1) * CELLS + tl.arange(0, CELLS)
    y = local // (width + 1) - size // 2 + cell // size
    x = local % (width + 1) - size // 2 + cell % size
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    source = pyramid + (slot // slots).to(tl.int64) * cells * words
    target = output + slot.to(tl.int64) * (size * size) * words
    for first in range(0, words, WORDS):
        word = first + tl.arange(0, WORDS)
        here = (cell < size * size)[:, None] & (word < words)[None, :]
        at = ((start + y * width + x) * words)[:, None] + word[None, :]
        values = tl.load(source + at, mask=here & inside[:, None], other=0)
        tl.store(target + (cell * words)[:, None] + word[None, :], values, mask=here)
