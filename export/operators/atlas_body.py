"""The portable body of `MaskrtPyramidRoiAlign`: ONNX GridSample over an atlas of all levels.

A sample inside [-1, size] of its level is clamped to [0, size - 1] and moved to where the level
begins; every other one is put at -2, outside the atlas, where padding is zero. A position x in
cells is 2 x + 1 over the atlas' size less 1 in GridSample's frame (`align_corners` 0).

The samples of a bin are numbered: number j of a box with n_x a row is j % n_x along x and j // n_x
along y. With a fixed ratio all are read at once and summed. With adaptive sampling their number is
each box's own, and an elongated box has many: 336 x 2 cells are 48 x 1 a bin. Then boxes are sorted
by it into groups, and for each group a Loop reads one sample of each bin at a time and ends with
the group's box that has most. Sorted, eight groups read about as many samples as there are.

GridSample runs in FP32 whatever the features are: a grid in half has steps of 2^-11 of the map.
Interpolation products, the body of `MaskrtRoiAlign`, would be made for every box on every level.
"""

from __future__ import annotations

from .domain import constants

_HEAD = """
<domain: "maskrt", opset_import: ["" : {opset}]>
MaskrtPyramidRoiAlign
<output_size, sampling_ratio, aligned, spatial_shapes, strides, borders, table, cfg,
 plugin_namespace, plugin_version, aot>
(X, rois) => (Y)
"""

# The call as tensors: p bins, s samples; 1-element int64 B C K P.
_CALL = (
    """
    p = Constant <value_int: int = @output_size> ()
    s = Constant <value_int: int = @sampling_ratio> ()
    aligned_i = Constant <value_int: int = @aligned> ()
    border = Constant <value_floats: floats = @borders> ()
    flat_table = Constant <value_floats: floats = @table> ()
"""
    + constants(zero_i=0, one_i=1, infer=(-1,), axis_0=(0,), one_1=(1,), halves=(2, 2), ones=(1, 1))
    + constants(axis_2=(2,), last_axis=(-1,), columns_of_table=(-1, 5), two_1=(2,))
    + constants(table_columns=(1, 2, 1, 1))
    + constants(half=0.5, zero=0.0, one=1.0, two=2.0, minus_one=-1.0, outside=-2.0)
    + """
    B = Shape <start = 0, end = 1> (X)
    C = Shape <start = 1, end = 2> (X)
    K = Shape <start = 1, end = 2> (rois)
    P = Unsqueeze (p, axis_0)
    PP = Mul (P, P)
    p_f = Cast <to = 1> (p)
    bins = Range (zero_i, p, one_i)
    bin_f = Cast <to = 1> (bins)
    is_fixed = Greater (s, zero_i)
    is_aligned = Greater (aligned_i, zero_i)
"""
)

# Boxes on their levels: low, width of a bin and count n along x and y, (B, K, 2); a level's row of
# the table is scale, width, height, first row in the atlas, most samples a side.
_BOXES = """
    corner, opposite = Split <axis = 2> (rois, halves)
    sides = Sub (opposite, corner)
    side_x, side_y = Split <axis = 2> (sides, ones)
    area = Mul (side_x, side_y)
    reached = GreaterOrEqual (area, border)
    reached_i = Cast <to = 7> (reached)
    level = ReduceSum <keepdims = 0> (reached_i, axis_2)
    table_2 = Reshape (flat_table, columns_of_table)
    of_level = Gather <axis = 0> (table_2, level)
    scale, size, top, most = Split <axis = 2> (of_level, table_columns)

    scaled = Mul (rois, scale)
    shifted = Sub (scaled, half)
    placed = Where (is_aligned, shifted, scaled)
    low, high = Split <axis = 2> (placed, halves)
    ends = Sub (high, low)
    at_least_one = Max (ends, one)
    extent = Where (is_aligned, ends, at_least_one)
    width = Div (extent, p_f)

    s_f = Cast <to = 1> (s)
    wanted = Ceil (width)
    allowed = Min (wanted, most)
    has_extent = Greater (extent, zero)
    counted = Where (has_extent, allowed, zero)
    n = Where (is_fixed, s_f, counted)
    divisor = Max (n, one)

    n_x0, n_y0 = Split <axis = 2> (n, ones)
    n_all0 = Mul (n_x0, n_y0)
    atlas = Cast <to = 1> (X)
    atlas_hw = Shape <start = 2, end = 4> (X)
    atlas_f = Cast <to = 1> (atlas_hw)
    atlas_y, atlas_x = Split <axis = 0> (atlas_f, ones)
"""

# The same of some boxes, low to top being (B, k, 2) or (B, k, 1), each (B, 1, k, 1).
_COLUMNS = """
    box_shape = Concat <axis = 0> (B, one_1, infer, one_1)
    low_x0, low_y0 = Split <axis = 2> (low{of}, ones)
    width_x0, width_y0 = Split <axis = 2> (width{of}, ones)
    size_x0, size_y0 = Split <axis = 2> (size{of}, ones)
    divisor_x0, divisor_y0 = Split <axis = 2> (divisor{of}, ones)
    low_x = Reshape (low_x0, box_shape)
    low_y = Reshape (low_y0, box_shape)
    width_x = Reshape (width_x0, box_shape)
    width_y = Reshape (width_y0, box_shape)
    size_x = Reshape (size_x0, box_shape)
    size_y = Reshape (size_y0, box_shape)
    divisor_x = Reshape (divisor_x0, box_shape)
    divisor_y = Reshape (divisor_y0, box_shape)
    top_y = Reshape (top{of}, box_shape)
    n_all = Reshape (n_all0{of}, box_shape)
"""

# The bins' samples of some numbers, `number` (J,) int64, summed: (B, C, k * P * P).
_SAMPLES = """
    J = Shape (number)
    number_f = Cast <to = 1> (number)
    number_shape = Concat <axis = 0> (one_1, J, one_1, one_1)
    j = Reshape (number_f, number_shape)
    rows_before = Div (j, divisor_x)
    row = Floor (rows_before)
    cells_before = Mul (row, divisor_x)
    column = Sub (j, cells_before)
    used = Less (j, n_all)
{x}{y}
    grid_shape = Concat <axis = 0> (B, J, {count}, P, P)
    x_5 = Unsqueeze (frame_x, axis_3)
    y_5 = Unsqueeze (frame_y, last_axis)
    x_all = Expand (x_5, grid_shape)
    y_all = Expand (y_5, grid_shape)
    x_6 = Unsqueeze (x_all, last_axis)
    y_6 = Unsqueeze (y_all, last_axis)
    xy = Concat <axis = 5> (x_6, y_6)
    rows_shape = Concat <axis = 0> (B, infer, P, two_1)
    grid = Reshape (xy, rows_shape)
    samples = GridSample <mode = "bilinear", padding_mode = "zeros", align_corners = 0>
        (atlas, grid)
    planes_shape = Concat <axis = 0> (B, C, J, infer)
    planes = Reshape (samples, planes_shape)
    {sums} = ReduceSum <keepdims = 0> (planes, axis_2)
"""

# One side: (B, J, K, P) positions in cells of the level, then in GridSample's frame of the atlas.
_SIDE = """
    centre_{a} = Add ({index}, half)
    within_{a} = Div (centre_{a}, divisor_{a})
    in_bins_{a} = Add (bin_f, within_{a})
    offset_{a} = Mul (in_bins_{a}, width_{a})
    position_{a} = Add (offset_{a}, low_{a})
    after_start_{a} = GreaterOrEqual (position_{a}, minus_one)
    before_end_{a} = LessOrEqual (position_{a}, size_{a})
    on_map_{a} = And (after_start_{a}, before_end_{a})
    inside_{a} = And (on_map_{a}, used)
    not_below_{a} = Max (position_{a}, zero)
    last_{a} = Sub (size_{a}, one)
    clamped_{a} = Min (not_below_{a}, last_{a})
    moved_{a} = {moved}
    kept_{a} = Where (inside_{a}, moved_{a}, outside)
    twice_{a} = Mul (kept_{a}, two)
    centred_{a} = Add (twice_{a}, one)
    share_{a} = Div (centred_{a}, atlas_{a})
    frame_{a} = Sub (share_{a}, one)
"""

_AXIS_3 = constants(axis_3=(3,))

GROUPS = 8
"""Of boxes of about as many samples."""

_FIXED = """
    ss = Mul (s, s)
    number = Range (zero_i, ss, one_i)
{samples}
"""

_GROUPED = constants(groups=(GROUPS,), all_groups=GROUPS, columns=(2, 2, 2, 2, 1, 1))
_GROUPED += constants(pads_0=(0, 0, 0, 0))

# Boxes by falling number of samples, in groups of equal size, the last one filled up: the columns
# of `rows` (groups, B, k, 10) are what `_COLUMNS` takes. TensorRT-RTX 1.7 wants a number of
# iterations and hands the body none: each body counts itself.
_LOOPS = """
    yes = Equal (zero_i, zero_i)
    counts = Squeeze (n_all0, axis_2)
    sorted_counts, order = TopK <axis = 1> (counts, K)
    order_3 = Unsqueeze (order, axis_2)
    unsorted = Concat <axis = 2> (low, width, size, divisor, n_all0, top)
    rows_2 = GatherND <batch_dims = 1> (unsorted, order_3)
    more = Sub (groups, one_1)
    K_more = Add (K, more)
    k = Div (K_more, groups)
    slots = Mul (k, groups)
    extra = Sub (slots, K)
    pads = Concat <axis = 0> (pads_0, extra, axis_0)
    rows_3 = Pad (rows_2, pads, one)
    groups_shape = Concat <axis = 0> (B, groups, k, infer)
    rows_4 = Reshape (rows_3, groups_shape)
    rows = Transpose <perm = [1, 0, 2, 3]> (rows_4)

    no_limit = Constant <value_int = 2147483647> ()
    nothing_shape = Concat <axis = 0> (B, C, k, PP)
    nothing_4 = Expand (zero, nothing_shape)
    planes_3 = Concat <axis = 0> (B, C, infer)
    nothing = Reshape (nothing_4, planes_3)
    last_group, of_groups = Loop <body =
        one_group (int64 i, bool more_groups, int64[1] group)
            => (bool next_group, int64[1] group_after, float[b, c, n] sums) {{
        of_group = Gather <axis = 0> (rows, group)
        rows_g = Squeeze (of_group, axis_0)
        low_g, width_g, size_g, divisor_g, n_all0_g, top_g = Split <axis = 2> (rows_g, columns)
{columns}
        going_most = ReduceMax <keepdims = 0> (n_all)
        most_used = Cast <to = 7> (going_most)
        going = Greater (most_used, zero_i)
        last, sums = Loop <body =
            one_sample (int64 i_2, bool more_samples, int64[1] number, float[b, c, n] so_far)
                => (bool again, int64[1] following, float[b, c, n] with_this) {{
{samples}
            with_this = Add (so_far, this)
            following = Add (number, one_1)
            next_number = Squeeze (following)
            again = Less (next_number, most_used)
        }}> (no_limit, going, axis_0, nothing)
        group_after = Add (group, one_1)
        next_group = Identity (more_groups)
    }}> (all_groups, yes, axis_0)
"""

_BY_GROUP = """
    order_f = Cast <to = 1> (order)
    places_f, places = TopK <axis = 1, largest = 0> (order_f, K)
    places_3 = Unsqueeze (places, axis_2)
    sums_shape = Concat <axis = 0> (groups, B, C, k, PP)
    sums_5 = Reshape (of_groups, sums_shape)
    sorted_5 = Transpose <perm = [1, 0, 3, 2, 4]> (sums_5)
    sorted_shape = Concat <axis = 0> (B, slots, C, PP)
    sorted_4 = Reshape (sorted_5, sorted_shape)
    sums_4 = GatherND <batch_dims = 1> (sorted_4, places_3)
    divisor_x1, divisor_y1 = Split <axis = 2> (divisor, ones)
    total = Mul (divisor_x1, divisor_y1)
    total_4 = Unsqueeze (total, last_axis)
    means = Div (sums_4, total_4)
    by_box = CastLike (means, X)
    Y_shape = Concat <axis = 0> (infer, C, P, P)
    Y = Reshape (by_box, Y_shape)
"""

_BY_CHANNEL = """
    total_x = Reshape (divisor_x, infer)
    total_y = Reshape (divisor_y, infer)
    total = Mul (total_x, total_y)
    total_shape = Concat <axis = 0> (B, one_1, K, one_1)
    total_4 = Reshape (total, total_shape)
    bins_shape = Concat <axis = 0> (B, C, K, PP)
    sums_4 = Reshape (sums, bins_shape)
    means = Div (sums_4, total_4)
    means_cast = CastLike (means, X)
    by_box = Transpose <perm = [0, 2, 1, 3]> (means_cast)
    Y_shape = Concat <axis = 0> (infer, C, P, P)
    Y = Reshape (by_box, Y_shape)
"""


def body_text(opset: int, *, adaptive: bool) -> str:
    """The local function as ONNX's parser reads it; see `pyramid_roi_align_function`."""
    sides = {
        "x": _SIDE.format(a="x", index="column", moved="Identity (clamped_x)"),
        "y": _SIDE.format(a="y", index="row", moved="Add (clamped_y, top_y)"),
    }
    if adaptive:
        samples = _SAMPLES.format(**sides, count="k", sums="this")
        body = (
            _GROUPED + _LOOPS.format(columns=_COLUMNS.format(of="_g"), samples=samples) + _BY_GROUP
        )
    else:
        samples = _SAMPLES.format(**sides, count="K", sums="sums")
        body = _COLUMNS.format(of="") + _FIXED.format(samples=samples) + _BY_CHANNEL
    text = _HEAD.format(opset=opset) + "{\n" + _CALL + _AXIS_3 + _BOXES + body
    return text + "}\n"
