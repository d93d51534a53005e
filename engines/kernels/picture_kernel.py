"""A decoded picture to its place on a canvas, as one Triton kernel.

What it computes is `runtime/preprocess.py`'s `place_on_canvas`, whose scaling is OpenCV's
INTER_LINEAR of bytes. With scale = picture / scaled pixels of an axis, output pixel i lies at

    u = float32((i + 0.5) * scale - 0.5)        in float64 before the conversion

between source pixels floor(u) and floor(u) + 1, each moved into the picture. Their weights are
1 - f and f (f = u - floor(u)) in 1/2048, rounded half to even. A row is combined in whole numbers,
s = p * w0 + q * w1, and two rows with the weights v0 and v1 of the other axis to

    (((v0 * (s >> 4)) >> 16) + ((v1 * (t >> 4)) >> 16) + 2) >> 2

OpenCV does so in its portable code and on x86: in Triton's interpreter every value equals OpenCV
5.0.0's on the tests' pictures. Builds of it for other processors may differ by one grey level.
Source: OpenCV imgproc, resize (fixed-point bilinear, 11 bits of weight).
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"

import triton
import triton.language as tl

# Of the canvas, one program's tile. A row is taken as bytes, so that neighbouring threads write
# neighbouring bytes; the two source rows stay in cache.
ROWS = 8
BYTES = 256
WARPS = 4


@triton.jit
def _nearest(x):
    """Whole number, half to even, of |x| < 2^22: at 1.5 * 2^23 floats are whole numbers."""
    return ((x + 12582912.0) - 12582912.0).to(tl.int32)


@triton.jit
def _between(at, scaled, size):
    """Per output pixel the source pixels before and after it, and their weights in 1/2048."""
    scale = 1.0 / (scaled.to(tl.float64) / size.to(tl.float64))
    u = ((at.to(tl.float64) + 0.5) * scale - 0.5).to(tl.float32)
    cell = tl.floor(u)
    way = u - cell
    before = cell.to(tl.int32)
    first = tl.minimum(tl.maximum(before, 0), size - 1)
    second = tl.minimum(tl.maximum(before + 1, 0), size - 1)
    return first, second, _nearest((1.0 - way) * 2048.0), _nearest(way * 2048.0)


@triton.jit
def _row(picture, row, left, right, left_weight, right_weight, pitch, inside):
    """The bytes of some source rows, scaled along x, in 1/2048."""
    start = picture + (row.to(tl.int64) * pitch)[:, None]
    here = tl.load(start + left[None, :], mask=inside, other=0).to(tl.int32)
    after = tl.load(start + right[None, :], mask=inside, other=0).to(tl.int32)
    return here * left_weight[None, :] + after * right_weight[None, :]


@triton.jit
def place_picture(
    picture,  # (h, w, 3) uint8
    height,
    width,
    scaled_height,  # what it takes of the canvas
    scaled_width,
    slot,
    canvas_height,
    canvas_width,
    canvas,  # (B, H, W, 3) uint8; all of slot `slot` is written
    ROWS: tl.constexpr,
    BYTES: tl.constexpr,
):
    """Grid: (cdiv(H, ROWS), cdiv(W * 3, BYTES))."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    byte = tl.program_id(1) * BYTES + tl.arange(0, BYTES)
    column = byte // 3
    channel = byte % 3
    inside = (row < scaled_height)[:, None] & (column < scaled_width)[None, :]

    top, bottom, top_weight, bottom_weight = _between(row, scaled_height, height)
    left, right, left_weight, right_weight = _between(column, scaled_width, width)
    left = left * 3 + channel
    right = right * 3 + channel
    pitch = width * 3
    upper = _row(picture, top, left, right, left_weight, right_weight, pitch, inside)
    lower = _row(picture, bottom, left, right, left_weight, right_weight, pitch, inside)
    upper = (top_weight[:, None] * (upper >> 4)) >> 16
    lower = (bottom_weight[:, None] * (lower >> 4)) >> 16
    value = (upper + lower + 2) >> 2  # 0 where nothing was read

    canvas_pitch = canvas_width * 3
    target = canvas + slot.to(tl.int64) * canvas_height * canvas_pitch
    at = (row * canvas_pitch)[:, None] + byte[None, :]
    on_canvas = (row < canvas_height)[:, None] & (byte < canvas_pitch)[None, :]
    tl.store(target + at, value.to(tl.uint8), mask=on_canvas)
