"""The ONNX operator `MaskrtWindowAlign`: FastMask's windows out of a packed pyramid, by one gather.

Windows lie on cells, so nothing is interpolated: a window's number gives its level, row and column,
those give 100 cell numbers, and cells outside the level are those of one row of zeros appended to
the pyramid. What depends on the level's shapes alone is written on the node as one table, so the
body needs no running sums (TensorRT 8.6 has no CumSum) and no Mod on int64.

Geometry: train/networks/windows.py. Source of the packed form: Zhu et al. 2021, Deformable DETR.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import parser

from ...runtime.errors import ExportError
from .domain import constants

WINDOW_ALIGN = "MaskrtWindowAlign"

# In the body: 1-element int64 tensors are capitals, L levels, table rows: last window of a level
# plus one, its first window, its first cell, height, width.
_BODY = """
<domain: "maskrt", opset_import: ["" : {opset}]>
MaskrtWindowAlign
<size, spatial_shapes, table, cfg, plugin_namespace, plugin_version, aot>
(X, index) => (Y)
{{
    s = Constant <value_int: int = @size> ()
    flat_table = Constant <value_ints: ints = @table> ()
{constants}    zero_f = Constant <value = float[1] {{0.0}}> ()

    B = Shape <start = 0, end = 1> (X)
    N = Shape <start = 1, end = 2> (X)
    C = Shape <start = 2, end = 3> (X)
    S = Unsqueeze (s, ZERO)

    table_2 = Reshape (flat_table, columns_of_table)
    ends_2 = Slice (table_2, ZERO, ONE, ONE)
    ends = Reshape (ends_2, INFER)
    number = Unsqueeze (index, axis_2)
    past = GreaterOrEqual (number, ends)
    past_i = Cast <to = 7> (past)
    level = ReduceSum <keepdims = 0> (past_i, axis_2)
    of_level = Gather <axis = 0> (table_2, level)
    end, start, cell, height, width = Split <axis = 2> (of_level, singles)

    local = Sub (number, start)
    per_row = Add (width, one_i)
    row = Div (local, per_row)
    before = Mul (row, per_row)
    column = Sub (local, before)
    cells = Range (zero_i, s, one_i)
    half = Div (s, two_i)
    steps = Sub (cells, half)
{y}{x}
    y_inside_4 = Unsqueeze (y_inside, axis_3)
    x_inside_4 = Unsqueeze (x_inside, axis_2)
    inside = And (y_inside_4, x_inside_4)

    y_cells = Mul (y, width)
    y_start = Add (cell, y_cells)
    y_start_4 = Unsqueeze (y_start, axis_3)
    x_4 = Unsqueeze (x, axis_2)
    at_level = Add (y_start_4, x_4)
    at = Where (inside, at_level, N)

    rows = Add (N, ONE)
    b = Squeeze (B, ZERO)
    images = Range (zero_i, b, one_i)
    images_4 = Reshape (images, base_shape)
    base = Mul (images_4, rows)
    at_all = Add (at, base)

    zero = CastLike (zero_f, X)
    zero_shape = Concat <axis = 0> (B, ONE, C)
    zero_row = Expand (zero, zero_shape)
    padded = Concat <axis = 1> (X, zero_row)
    flat_shape = Concat <axis = 0> (INFER, C)
    flat = Reshape (padded, flat_shape)
    windows = Gather <axis = 0> (flat, at_all)
    shape = Concat <axis = 0> (INFER, S, S, C)
    Y = Reshape (windows, shape)
}}
"""


# Cells along one side of the windows, and which of them the level has.
_SIDE = """
    {a} = Add ({first}, steps)
    {a}_low = GreaterOrEqual ({a}, zero_i)
    {a}_high = Less ({a}, {size})
    {a}_inside = And ({a}_low, {a}_high)
"""
_CONSTANTS = constants(
    zero_i=0, one_i=1, two_i=2, ONE=(1,), ZERO=(0,), INFER=(-1,), axis_2=(2,), axis_3=(3,),
    columns_of_table=(-1, 5), singles=(1, 1, 1, 1, 1), base_shape=(-1, 1, 1, 1),
)  # fmt: skip


def window_align_attributes(size: int, spatial_shapes: Sequence[int]) -> dict[str, object]:
    """What a node computes, as attributes, with the table the body reads and `cfg` for plugins.

    Args:
        size: cells along each side of a window, even.
        spatial_shapes: h0, w0, h1, w1, ... of the levels.

    Raises:
        ExportError: an odd size, or shapes that are no pairs of at least 1.

    """
    shapes = [int(side) for side in spatial_shapes]
    if size < 2 or size % 2 or len(shapes) < 2 or len(shapes) % 2 or min(shapes) < 1:
        raise ExportError(
            f"{WINDOW_ALIGN}: size {size}, spatial_shapes {shapes} found; expected an even size and"
            " pairs of sides of at least 1. Export the network's own levels."
        )
    levels = list(zip(shapes[::2], shapes[1::2], strict=True))
    table: list[int] = []
    window = cell = 0
    for height, width in levels:
        end = window + (height + 1) * (width + 1)
        table += [end, window, cell, height, width]
        window, cell = end, cell + height * width
    cfg = f"size={size};shapes=" + ",".join(f"{h}x{w}" for h, w in levels)
    return {"size": int(size), "spatial_shapes": shapes, "table": table, "cfg": cfg}


def window_align_function(opset: int) -> onnx.FunctionProto:
    """The local function, for a model whose standard operators are `opset`.

    Inputs `X` (B, N, C) float32 or float16, a packed pyramid, and `index` (B, K) int64 window
    numbers; output (B * K, S, S, C) in X's dtype, windows of image 0 first, zeros outside a level.
    """
    body = _BODY.format(
        opset=opset,
        constants=_CONSTANTS,
        y=_SIDE.format(a="y", first="row", size="height"),
        x=_SIDE.format(a="x", first="column", size="width"),
    )
    return parser.parse_function(body)
