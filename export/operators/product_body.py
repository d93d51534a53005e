"""The body of `MaskrtRoiAlign` that `export` writes: two products with interpolation weights.

A box and S samples per bin give Q * S sample rows and Q * S sample columns; bilinear weights and
the boundary rule act on rows and columns alone, so their mean over S is a (Q, H) and a (Q, W)
matrix and

    Y[k, c] = Wy[k] @ X[c] @ Wx[k].T

exactly. With adaptive sampling, samples past a box's own count lie outside.

Columns are contracted first, for every box in one large product: on a landscape canvas that is the
smaller intermediate. On ONNX Runtime with two cores, (1, 256, 50, 76), P 14, S 2, this was the
quickest of: one GridSample of all samples and pooling, S * S GridSamples summed, the two products
in other orders and layouts, gathering the 4 * S * S taps; and no slower than ONNX Runtime's own
RoiAlign.
"""

from __future__ import annotations

import onnx

from ...runtime.errors import ExportError
from .domain import MIN_OPSET, constants
from .roi_align import ADAPTIVE_COUNTS, ROI_ALIGN, body_function

_AXIS = constants(axis_3=(3,))

# S samples per bin along one side; `position` is (B, K, 2, all samples of a side), x before y.
_PRODUCTS = """
    WH = Concat <axis = 0> (W, H)
    size_shape = Concat <axis = 0> (infer, one_1)
    WH_2 = Reshape (WH, size_shape)
    size = Cast <to = 1> (WH_2)
    last = Sub (size, one)
    after_start = GreaterOrEqual (position, minus_one)
    before_end = LessOrEqual (position, size)
    inside = And (after_start, before_end)
    not_below = Max (position, zero)
    clamped = Min (not_below, last)
    kept = Where (inside, clamped, outside)
    x, y = Split <axis = 2> (kept, ones)

    sample_shape = Concat <axis = 0> (B, K, infer, one_1)
    {weights_x}
    {weights_y}

    x_rows = Concat <axis = 0> (B, infer, W)
    weights_x = Reshape (mean_x, x_rows)
    columns = Transpose <perm = [0, 3, 1, 2]> (X)
    column_shape = Concat <axis = 0> (B, W, infer)
    features = Reshape (columns, column_shape)
    at_columns = MatMul (weights_x, features)

    QC = Mul (Q, C)
    box_shape = Concat <axis = 0> (infer, QC, H)
    per_box = Reshape (at_columns, box_shape)
    y_rows = Concat <axis = 0> (infer, Q, H)
    weights_y = Reshape (mean_y, y_rows)
    weights_y_t = Transpose <perm = [0, 2, 1]> (weights_y)
    at_samples = MatMul (per_box, weights_y_t)
    bin_shape = Concat <axis = 0> (infer, Q, C, Q)
    bins = Reshape (at_samples, bin_shape)
    Y = Transpose <perm = [0, 2, 3, 1]> (bins)
"""

# Weights of one side: 1 - |sample - pixel| where positive. A sample outside sits at -2: none.
_SIDE_WEIGHTS = """
    sample_{a} = Reshape ({a}, sample_shape)
    size_{a} = Squeeze ({size}, axis_0)
    pixel_{a} = Range (zero_i, size_{a}, one_i)
    pixel_f_{a} = Cast <to = 1> (pixel_{a})
    signed_{a} = Sub (sample_{a}, pixel_f_{a})
    distance_{a} = Abs (signed_{a})
    overlap_{a} = Sub (one, distance_{a})
    tent_{a} = Relu (overlap_{a})
    bin_shape_{a} = Concat <axis = 0> (B, K, Q, S, {size})
    tents_{a} = Reshape (tent_{a}, bin_shape_{a})
    sum_{a} = ReduceSum <keepdims = 0> (tents_{a}, axis_3)
    mean_f_{a} = Div (sum_{a}, {count})
    mean_{a} = CastLike (mean_f_{a}, X)
"""

# Sample positions and counts where every bin has s samples a side: one list of fractions of a box.
_FIXED_POSITIONS = """
    S = Unsqueeze (s, axis_0)
    s_f = Cast <to = 1> (s)
    t = Mul (p, s)
    t_f = Cast <to = 1> (t)
    bin_count = Squeeze (Q)
    samples = Mul (bin_count, s)
    made = Range (zero_i, samples, one_i)
    made_bin = Div (made, s)
    step_less_1 = Sub (q, one_i)
    left_out = Mul (step_less_1, s)
    left_out_before = Mul (made_bin, left_out)
    index = Add (made, left_out_before)
    index_f = Cast <to = 1> (index)
    centre = Add (index_f, half)
    fraction = Div (centre, t_f)
    low_4 = Unsqueeze (low, axis_3)
    extent_4 = Unsqueeze (extent, axis_3)
    offset = Mul (extent_4, fraction)
    position = Add (offset, low_4)
"""

# The same where each box has its own number n of samples.
_ADAPTIVE_POSITIONS = (
    ADAPTIVE_COUNTS
    + constants(two_1=(2,), axis_1=(1,), axis_4=(4,), axes_3_4=(3, 4), far=-1e6)
    + """
    low_5 = Unsqueeze (low, axes_3_4)
    width_5 = Unsqueeze (width, axes_3_4)
    n_5 = Unsqueeze (n, axes_3_4)
    divisor_4 = Unsqueeze (divisor, axis_3)
    divisor_5 = Unsqueeze (divisor_4, axis_4)
    divisor_x, divisor_y = Split <axis = 2> (divisor_4, ones)

    within = Div (centre, divisor_5)
    bin_2 = Unsqueeze (bin_f, axis_1)
    in_bins = Add (bin_2, within)
    offset = Mul (in_bins, width_5)
    position_5 = Add (offset, low_5)
    unused_5 = GreaterOrEqual (sample_f, n_5)
    kept_5 = Where (unused_5, far, position_5)
    position_shape = Concat <axis = 0> (B, K, two_1, infer)
    position = Reshape (kept_5, position_shape)
"""
)


def roi_align_function(opset: int = MIN_OPSET, adaptive: bool = False) -> onnx.FunctionProto:
    """The local function of `MaskrtRoiAlign`, for a model whose standard operators are `opset`.

    Inputs `X` (B, C, H, W) float32 or float16 and `rois` (B, K, 4) float32 xyxy canvas pixels;
    output (B * K, C, Q, Q) in X's dtype, boxes of image 0 first. One function serves every call: P,
    S, the step and the scale are attribute references, and B, C, H, W, K are read from the shapes.

    Args:
        opset: of the model's standard operators.
        adaptive: also serve calls with sampling ratio 0, at the price of more weights.

    Raises:
        ExportError: `opset` is below 17.

    """
    if opset < MIN_OPSET:
        raise ExportError(
            f"{ROI_ALIGN}: opset {opset} found; expected at least {MIN_OPSET}."
            " Export with a newer opset."
        )
    counts = ("divisor_x", "divisor_y") if adaptive else ("s_f", "s_f")
    products = _PRODUCTS.format(
        weights_x=_SIDE_WEIGHTS.format(a="x", size="W", count=counts[0]),
        weights_y=_SIDE_WEIGHTS.format(a="y", size="H", count=counts[1]),
    )
    positions = _ADAPTIVE_POSITIONS if adaptive else _FIXED_POSITIONS
    return body_function(opset, _AXIS + positions + products)
