"""The ONNX operators of domain `maskrt`: a local function each, its body of standard operators.

A node `maskrt::MaskrtRoiAlign` runs anywhere through its function body, and a TensorRT plugin of
the same name replaces the body where one is registered. The attributes for the plugin are written
on every node, because the parser finds it by `plugin_namespace` and skips missing attributes.

The body of RoIAlign is two matrix products with interpolation weights. A box and S samples per bin
give Q * S sample rows and Q * S sample columns, Q being the bins that are made of P (all of them,
or every `bin_step`-th); bilinear weights and the boundary rule act on rows and columns alone, so
their mean over S is a (Q, H) and a (Q, W) matrix and

    Y[k, c] = Wy[k] @ X[c] @ Wx[k].T

exactly. With adaptive sampling (ratio 0) S is the most that a box may have, so that shapes stay
fixed, and samples past a box's own count lie outside.

Columns are contracted first, for every box in one large product: on a landscape canvas that is the
smaller intermediate. On ONNX Runtime with two cores, (1, 256, 50, 76), P 14, S 2, this was the
quickest of: one GridSample of all samples and pooling, S * S GridSamples summed, the two products
in other orders and layouts, gathering the 4 * S * S taps; and no slower than ONNX Runtime's own
RoiAlign. Coordinates and weights are FP32 whatever the features are: half has 11 bits and loses the
fraction of a pixel at 1024.

Source: Detectron2 ROIAlignV2 (`aligned`); the sample rule is that of ONNX RoiAlign-16 with
`half_pixel`. `engines/kernels/reference.py` is the specification of this operator.
"""

from collections.abc import Iterator

import onnx
from onnx import helper, parser

from ...runtime.errors import ExportError
from .window_align import WINDOW_ALIGN, window_align_attributes, window_align_function

DOMAIN = "maskrt"
DOMAIN_VERSION = 1
ROI_ALIGN = "MaskrtRoiAlign"
PLUGIN_VERSION = "1"
_PLUGIN_ATTRIBUTES: dict[str, int | float | str] = {
    "plugin_namespace": DOMAIN,
    "plugin_version": PLUGIN_VERSION,
    "aot": 1,
}
MIN_OPSET = 17
# Functions in a model exist since IR version 8 (attribute defaults, since 9, are not used).
MIN_IR_VERSION = 8

# In the body: BC.. are 1-element int64 tensors, N = B * K boxes, S samples per bin along one side.
# Only operators whose meaning did not change between opsets 17 and 23; `opset` fills the import.
_ROI_ALIGN_BODY = """
<domain: "maskrt", opset_import: ["" : {opset}]>
MaskrtRoiAlign
<output_size, sampling_ratio, spatial_scale, bin_step, cfg, plugin_namespace, plugin_version, aot>
(X, rois) => (Y)
{{
    p = Constant <value_int: int = @output_size> ()
    s = Constant <value_int: int = @sampling_ratio> ()
    q = Constant <value_int: int = @bin_step> ()
    scale = Constant <value_float: float = @spatial_scale> ()
    zero_i = Constant <value = int64 {{0}}> ()
    one_i = Constant <value = int64 {{1}}> ()
    infer = Constant <value = int64[1] {{-1}}> ()
    axis_0 = Constant <value = int64[1] {{0}}> ()
    axis_3 = Constant <value = int64[1] {{3}}> ()
    halves = Constant <value = int64[2] {{2, 2}}> ()
    ones = Constant <value = int64[2] {{1, 1}}> ()
    ones_1 = Constant <value = int64[1] {{1}}> ()
    half = Constant <value = float {{0.5}}> ()
    zero = Constant <value = float {{0.0}}> ()
    one = Constant <value = float {{1.0}}> ()
    minus_one = Constant <value = float {{-1.0}}> ()
    outside = Constant <value = float {{-2.0}}> ()

    B = Shape <start = 0, end = 1> (X)
    C = Shape <start = 1, end = 2> (X)
    H = Shape <start = 2, end = 3> (X)
    W = Shape <start = 3, end = 4> (X)
    K = Shape <start = 1, end = 2> (rois)
    bin = Range (zero_i, p, q)
    Q = Shape (bin)

    scaled = Mul (rois, scale)
    aligned = Sub (scaled, half)
    low, high = Split <axis = 2> (aligned, halves)
    extent = Sub (high, low)
    low_4 = Unsqueeze (low, axis_3)
    {positions}

    WH = Concat <axis = 0> (W, H)
    size_shape = Concat <axis = 0> (infer, ones_1)
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

    sample_shape = Concat <axis = 0> (B, K, infer, ones_1)
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
}}
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
    extent_4 = Unsqueeze (extent, axis_3)
    offset = Mul (extent_4, fraction)
    position = Add (offset, low_4)
"""

# The same where each box has its own number n of samples, 0 to m; also takes a fixed ratio.
_ADAPTIVE_POSITIONS = """
    axis_1 = Constant <value = int64[1] {1}> ()
    two = Constant <value = int64[1] {2}> ()
    axis_4 = Constant <value = int64[1] {4}> ()
    is_fixed = Greater (s, zero_i)
    p_f = Cast <to = 1> (p)
    HW = Concat <axis = 0> (H, W)
    longest = ReduceMax <keepdims = 0> (HW)
    short_of = Sub (p, one_i)
    rounded_up = Add (longest, short_of)
    most = Div (rounded_up, p)
    m = Where (is_fixed, s, most)
    S = Unsqueeze (m, axis_0)
    m_f = Cast <to = 1> (m)
    s_f = Cast <to = 1> (s)

    width = Div (extent, p_f)
    width_4 = Unsqueeze (width, axis_3)
    width_5 = Unsqueeze (width_4, axis_4)
    wanted = Ceil (width_4)
    at_least = Max (wanted, zero)
    allowed = Min (at_least, m_f)
    n = Where (is_fixed, s_f, allowed)
    divisor = Max (n, one)
    divisor_x, divisor_y = Split <axis = 2> (divisor, ones)
    n_5 = Unsqueeze (n, axis_4)
    divisor_5 = Unsqueeze (divisor, axis_4)
    low_5 = Unsqueeze (low_4, axis_4)

    sample = Range (zero_i, m, one_i)
    sample_f = Cast <to = 1> (sample)
    centre = Add (sample_f, half)
    within = Div (centre, divisor_5)
    bin_f = Cast <to = 1> (bin)
    bin_2 = Unsqueeze (bin_f, axis_1)
    in_bins = Add (bin_2, within)
    offset = Mul (in_bins, width_5)
    position_5 = Add (offset, low_5)
    unused_5 = GreaterOrEqual (sample_f, n_5)
    far = Constant <value = float {-1000000.0}> ()
    kept_5 = Where (unused_5, far, position_5)
    position_shape = Concat <axis = 0> (B, K, two, infer)
    position = Reshape (kept_5, position_shape)
"""


def call_attributes(
    output_size: int, spatial_scale: float, sampling_ratio: int, bin_step: int = 1
) -> dict[str, int | float | str]:
    """Every attribute a `MaskrtRoiAlign` node carries, in the order the TensorRT plugin reads them.

    Args:
        output_size: bins along each side of a box, >= 1.
        spatial_scale: feature pixels per canvas pixel, > 0.
        sampling_ratio: samples along each side of a bin; 0 is adaptive.
        bin_step: only every such bin of a row and of a column is made, >= 1.

    Returns:
        attribute name -> value. The function body reads the first four; `cfg` says the same in one
        string for plugins (the one attribute kind every TensorRT and NumPy version passes on).

    Raises:
        ExportError: a value is out of its range.

    """
    if min(output_size, bin_step) < 1 or sampling_ratio < 0 or not spatial_scale > 0:
        raise ExportError(
            f"{ROI_ALIGN}: output_size {output_size}, sampling_ratio {sampling_ratio}, bin_step"
            f" {bin_step}, spatial_scale {spatial_scale} found; expected at least 1, at least 0,"
            " at least 1 and above 0. Correct the recipe."
        )
    cfg = f"oh={output_size};ow={output_size};sr={sampling_ratio};step={bin_step}"
    cfg += f";scale={spatial_scale!r};aligned=1"
    return {
        "output_size": int(output_size),
        "sampling_ratio": int(sampling_ratio),
        "spatial_scale": float(spatial_scale),
        "bin_step": int(bin_step),
        "cfg": cfg,
        **_PLUGIN_ATTRIBUTES,
    }


def roi_align_function(opset: int = MIN_OPSET, adaptive: bool = False) -> onnx.FunctionProto:
    """The local function of `MaskrtRoiAlign`, for a model whose standard operators are `opset`.

    Inputs `X` (B, C, H, W) float32 or float16 and `rois` (B, K, 4) float32 xyxy canvas pixels;
    output (B * K, C, Q, Q) in X's dtype, boxes of image 0 first. A sample outside [-1, size] is 0,
    others are clamped to [0, size - 1]. One function serves every call: P, S, the step and the
    scale are attribute references, and B, C, H, W, K are read from the shapes.

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
    body = _ROI_ALIGN_BODY.format(
        opset=opset,
        positions=_ADAPTIVE_POSITIONS if adaptive else _FIXED_POSITIONS,
        weights_x=_SIDE_WEIGHTS.format(a="x", size="W", count=counts[0]),
        weights_y=_SIDE_WEIGHTS.format(a="y", size="H", count=counts[1]),
    )
    return parser.parse_function(body)


def add_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Attach what the bare `maskrt` nodes of a model need to run anywhere.

    Adds the function body, the domain's opset import and the attributes a node lacks; a model
    without such nodes is returned unchanged. `model` itself is left alone.

    Raises:
        ExportError: a node of the domain is not ours, or lacks an attribute that says what to do.

    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = [node for node in result.graph.node if node.domain == DOMAIN]
    if not nodes:
        return result
    for node in nodes:
        _complete(node)
    opsets = {entry.domain: entry.version for entry in result.opset_import}
    if DOMAIN not in opsets:
        result.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    called = {node.op_type for node in nodes} - {function.name for function in result.functions}
    if ROI_ALIGN in called:
        adaptive = any(_sampling_ratio(node) == 0 for node in roi_align_nodes(result))
        result.functions.append(roi_align_function(opset, adaptive))
    if WINDOW_ALIGN in called:
        result.functions.append(window_align_function(opset))
    result.ir_version = max(result.ir_version, MIN_IR_VERSION)
    return result


def roi_align_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The `MaskrtRoiAlign` nodes of a model's graph, in order."""
    return (n for n in model.graph.node if n.domain == DOMAIN and n.op_type == ROI_ALIGN)


def _sampling_ratio(node: onnx.NodeProto) -> int:
    return next(int(a.i) for a in node.attribute if a.name == "sampling_ratio")


def _complete(node: onnx.NodeProto) -> None:
    """Write every attribute on one node, from those that say what it computes."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == ROI_ALIGN:
        _require(node, found, "output_size", "spatial_scale", "sampling_ratio")
        values = (found["output_size"], found["spatial_scale"], found["sampling_ratio"])
        wanted: dict[str, object] = dict(call_attributes(*values, found.get("bin_step", 1)))
    elif node.op_type == WINDOW_ALIGN:
        _require(node, found, "size", "spatial_shapes")
        wanted = window_align_attributes(found["size"], found["spatial_shapes"])
        wanted |= _PLUGIN_ATTRIBUTES
    else:
        raise ExportError(
            f"node '{node.name}': {node.domain}::{node.op_type} found; expected {ROI_ALIGN} or"
            f" {WINDOW_ALIGN}, the domain's operators. Translate it to standard ones."
        )
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in wanted.items())


def _require(node: onnx.NodeProto, found: dict[str, object], *names: str) -> None:
    missing = [name for name in sorted(names) if name not in found]
    if missing:
        raise ExportError(
            f"node '{node.name}': {', '.join(missing)} missing; expected on every {node.op_type}"
            " node. Write the attributes of call_attributes() or window_align_attributes()."
        )
