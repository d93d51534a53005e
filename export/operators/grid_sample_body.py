"""A second portable body of `MaskrtRoiAlign`: ONNX GridSample, one call for each picture's boxes.

Row b of `rois` holds boxes of image b, and GridSample pairs image b with grid b, so one node serves
any batch. Samples of equal place in their bins lie together: the grid is (B, S * S * K * Q, Q, 2)
for S samples per bin and side and Q of the P bins made, GridSample gives (B, C, S * S * K * Q, Q),
and the bins are sums over the S * S planes, whole rows at a time.

The boundary rule needs no mask. A sample inside [-1, size] is clamped to [0, size - 1], every other
one, and those past an adaptive box's own count, are put at -2: with zero padding they are 0.
A position x in cells is 2 x + 1 over W less 1 in GridSample's frame (`align_corners` 0).

GridSample runs in FP32 whatever the features are: a grid in half has steps of 2^-11 of the map.

`export` writes the body of `product_body`: this one reads every sample, which is 4 S S cells for a
bin, and writes S S values for each before it sums them; `maskrt bench --operators` times both.
"""

from __future__ import annotations

import onnx

from ...runtime.errors import ExportError
from .domain import MIN_OPSET, constants
from .roi_align import ADAPTIVE_COUNTS, ROI_ALIGN, body_function

# GridSample is of opset 16; opset 20 renamed its mode.
MAX_OPSET = 19

# x and y are (B, K, ..) until they make the grid.
_CONSTANTS = constants(axis_1=(1,), axis_2=(2,), last_axis=(-1,), two=2.0)
_GRID = """
    bins_shape = Concat <axis = 0> (one_1, Q)
    bin_2 = Reshape (bin_f, bins_shape)
    sample_shape = Concat <axis = 0> (S, one_1)
    sample_2 = Reshape (sample_f, sample_shape)
    centre_2 = Reshape (centre, sample_shape)
    box_shape = Concat <axis = 0> (B, K, one_1, one_1)
    low_x, low_y = Split <axis = 2> (low, ones)
    width_x, width_y = Split <axis = 2> (width, ones)
    n_x, n_y = Split <axis = 2> (n, ones)
    divisor_x, divisor_y = Split <axis = 2> (divisor, ones)
    {x}
    {y}

    x_shape = Concat <axis = 0> (B, one_1, S, K, one_1, Q)
    x_6 = Reshape (x_first, x_shape)
    y_shape = Concat <axis = 0> (B, S, one_1, K, Q, one_1)
    y_6 = Reshape (y_first, y_shape)
    grid_shape = Concat <axis = 0> (B, S, S, K, Q, Q)
    x_all = Expand (x_6, grid_shape)
    y_all = Expand (y_6, grid_shape)
    x_7 = Unsqueeze (x_all, last_axis)
    y_7 = Unsqueeze (y_all, last_axis)
    xy = Concat <axis = 6> (x_7, y_7)
    pair = Shape (halves)
    rows_shape = Concat <axis = 0> (B, infer, Q, pair)
    grid = Reshape (xy, rows_shape)
    X_f = Cast <to = 1> (X)
    samples = GridSample <mode = "bilinear", padding_mode = "zeros", align_corners = 0> (X_f, grid)

    SS = Mul (S, S)
    QQ = Mul (Q, Q)
    KQQ = Mul (K, QQ)
    planes_shape = Concat <axis = 0> (B, C, SS, KQQ)
    planes = Reshape (samples, planes_shape)
    sums = ReduceSum <keepdims = 0> (planes, axis_2)
    bins_4_shape = Concat <axis = 0> (B, C, K, QQ)
    sums_4 = Reshape (sums, bins_4_shape)
    area = Mul (divisor_x, divisor_y)
    area_4 = Unsqueeze (area, axis_1)
    means = Div (sums_4, area_4)
    means_cast = CastLike (means, X)
    by_box = Transpose <perm = [0, 2, 1, 3]> (means_cast)
    Y_shape = Concat <axis = 0> (infer, C, Q, Q)
    Y = Reshape (by_box, Y_shape)
"""

# One side of the boxes, (B, K, S, Q) positions in cells, then (B, S, K, Q) in GridSample's frame.
_SIDE = """
    low_4_{a} = Reshape (low_{a}, box_shape)
    width_4_{a} = Reshape (width_{a}, box_shape)
    n_4_{a} = Reshape (n_{a}, box_shape)
    divisor_4_{a} = Reshape (divisor_{a}, box_shape)
    within_{a} = Div (centre_2, divisor_4_{a})
    in_bins_{a} = Add (bin_2, within_{a})
    offset_{a} = Mul (in_bins_{a}, width_4_{a})
    position_{a} = Add (offset_{a}, low_4_{a})
    size_{a} = Cast <to = 1> ({size})
    last_{a} = Sub (size_{a}, one)
    after_start_{a} = GreaterOrEqual (position_{a}, minus_one)
    before_end_{a} = LessOrEqual (position_{a}, size_{a})
    on_map_{a} = And (after_start_{a}, before_end_{a})
    used_{a} = Less (sample_2, n_4_{a})
    inside_{a} = And (on_map_{a}, used_{a})
    not_below_{a} = Max (position_{a}, zero)
    clamped_{a} = Min (not_below_{a}, last_{a})
    kept_{a} = Where (inside_{a}, clamped_{a}, outside)
    twice_{a} = Mul (kept_{a}, two)
    centred_{a} = Add (twice_{a}, one)
    share_{a} = Div (centred_{a}, size_{a})
    frame_{a} = Sub (share_{a}, one)
    {a}_first = Transpose <perm = [0, 2, 1, 3]> (frame_{a})
"""


def grid_sample_function(opset: int = MIN_OPSET) -> onnx.FunctionProto:
    """The local function, for a model whose standard operators are `opset`.

    Inputs, output and attributes are those of `product_body.roi_align_function`; fixed and adaptive
    sampling and the bin step are all served.

    Raises:
        ExportError: `opset` is not 17 to 19.

    """
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ExportError(
            f"{ROI_ALIGN}: opset {opset} found; expected {MIN_OPSET} to {MAX_OPSET}, where"
            " GridSample is written this way. Use roi_align_function."
        )
    sides = {side: _SIDE.format(a=side, size=size) for side, size in (("x", "W"), ("y", "H"))}
    return body_function(opset, _CONSTANTS + ADAPTIVE_COUNTS + _GRID.format(**sides))
