"""The ONNX operator `MaskrtRoiAlign`: its attributes, and how each of its bodies begins.

    X (B, C, H, W), rois (B, K, 4) xyxy canvas pixels -> Y (B * K, C, Q, Q), boxes of image 0 first

Q being the bins that are made of P along each side: all of them, or every `bin_step`-th. A bin is
the mean of S * S bilinear samples; one outside [-1, size] is 0, others are clamped to
[0, size - 1]. With adaptive sampling (ratio 0) S is the most that a box may have, so that shapes
stay fixed, and samples past a box's own count are left out. Coordinates and weights are FP32
whatever the features are: half has 11 bits and loses the fraction of a pixel at 1024.

Source: Detectron2 ROIAlignV2 (`aligned`); the sample rule is that of ONNX RoiAlign-16 with
`half_pixel`. `engines/kernels/reference.py` is the specification of this operator.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import parser

from ...runtime.errors import ExportError
from .domain import DOMAIN, constants

ROI_ALIGN = "MaskrtRoiAlign"

_HEAD = """
<domain: "maskrt", opset_import: ["" : {opset}]>
MaskrtRoiAlign
<output_size, sampling_ratio, spatial_scale, bin_step, cfg, plugin_namespace, plugin_version, aot>
(X, rois) => (Y)
"""

# The call as tensors: p bins, s samples, q bins a step, scale; 1-element int64 B C H W K Q; boxes
# on the map as low, high and extent, (B, K, 2) float each.
_CALL = (
    """
    p = Constant <value_int: int = @output_size> ()
    s = Constant <value_int: int = @sampling_ratio> ()
    q = Constant <value_int: int = @bin_step> ()
    scale = Constant <value_float: float = @spatial_scale> ()
"""
    + constants(zero_i=0, one_i=1, infer=(-1,), axis_0=(0,), one_1=(1,), ones=(1, 1), halves=(2, 2))
    + constants(half=0.5, zero=0.0, one=1.0, minus_one=-1.0, outside=-2.0)
    + """
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
"""
)

ADAPTIVE_COUNTS = """
    is_fixed = Greater (s, zero_i)
    HW = Concat <axis = 0> (H, W)
    longest = ReduceMax <keepdims = 0> (HW)
    short_of = Sub (p, one_i)
    rounded_up = Add (longest, short_of)
    most = Div (rounded_up, p)
    m = Where (is_fixed, s, most)
    S = Unsqueeze (m, axis_0)
    m_f = Cast <to = 1> (m)
    s_f = Cast <to = 1> (s)
    p_f = Cast <to = 1> (p)

    width = Div (extent, p_f)
    wanted = Ceil (width)
    at_least = Max (wanted, zero)
    allowed = Min (at_least, m_f)
    n = Where (is_fixed, s_f, allowed)
    divisor = Max (n, one)

    bin_f = Cast <to = 1> (bin)
    sample = Range (zero_i, m, one_i)
    sample_f = Cast <to = 1> (sample)
    centre = Add (sample_f, half)
"""
"""Text for bodies where each box has its own number n of samples, 0 to m; also takes a fixed ratio.

`width` (of a bin), `n` and `divisor` (n, at least 1) are (B, K, 2), `bin_f` and `centre` lists.
"""


def body_function(opset: int, body: str) -> onnx.FunctionProto:
    """A local function of the operator from the text that follows its common beginning."""
    return parser.parse_function(f"{_HEAD.format(opset=opset)}{{\n{_CALL}{body}}}\n")


def roi_align_attributes(
    output_size: int, spatial_scale: float, sampling_ratio: int, bin_step: int = 1
) -> dict[str, int | float | str]:
    """What a node computes, as attributes, in the order the TensorRT plugin reads them.

    Args:
        output_size: bins along each side of a box, >= 1.
        spatial_scale: feature pixels per canvas pixel, > 0.
        sampling_ratio: samples along each side of a bin; 0 is adaptive.
        bin_step: only every such bin of a row and of a column is made, >= 1.

    Returns:
        attribute name -> value. Function bodies read the first four; `cfg` says the same in one
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
    }


def roi_align_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The `MaskrtRoiAlign` nodes of a model's graph, in order."""
    return (n for n in model.graph.node if n.domain == DOMAIN and n.op_type == ROI_ALIGN)
