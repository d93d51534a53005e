"""Rule `even_bins`: do not pool the bins that no convolution reads.

    Conv[1x1, stride s] (RoIAlign[step a] (X, rois))  =  Conv[1x1, stride 1] (RoIAlign[step a s] ..)

Proof. A 1x1 convolution of stride s without padding computes its output at (i, j) from its input at
(s i, s j) alone. With step a that is bin (a s i, a s j) of the P x P bins of the box: the bin at
(i, j) with step a s, since a step leaves bins out and does not change the size of those that stay.
Sides agree: ceil(ceil(P / a) / s) = ceil(P / (a s)). When several convolutions read the regions,
g = the greatest common divisor of all strides takes the place of s, and each keeps stride / g. No
product changes, only some are not made: the results are the same numbers.

It saves: of a C5 subnet with its stride in the first 1x1 convolutions (Detectron's MSRA layout), 3
of 4 bins, and the same share of the largest tensor of the network.

It does not apply to torchvision's layout, where conv1 has stride 1, nor to the 3x3 convolutions
of the light subnet: they read every bin.
"""

from __future__ import annotations

from math import gcd

from .pooled_graph import PooledGraph, Replacement, Site, attributes, changed, label, strides


def pattern(graph: PooledGraph) -> list[Site]:
    """Each RoIAlign by itself."""
    return [(align,) for align in graph.aligns]


def check(graph: PooledGraph, site: Site) -> str:
    """Why every bin of this RoIAlign is needed; "" where some are not."""
    (align,) = site
    reason = graph.why_not_pointwise(align)
    if not reason and _common_stride(graph, align) == 1:
        dense = min(graph.readers(align), key=lambda i: min(strides(graph.nodes[i])))
        sides = "x".join(map(str, strides(graph.nodes[dense])))
        reason = f"{label(graph.nodes[dense])} of stride {sides} reads every bin"
    return reason


def rewrite(graph: PooledGraph, site: Site) -> Replacement:
    """Move the common stride from the convolutions into the RoIAlign's bin step."""
    (align,) = site
    common = _common_stride(graph, align)
    step = attributes(graph.nodes[align]).get("bin_step", 1)
    result = {align: [changed(graph.nodes[align], bin_step=step * common)]}
    for i in graph.readers(align):
        left = [stride // common for stride in strides(graph.nodes[i])]
        result[i] = [changed(graph.nodes[i], strides=left)]
    return result


def _common_stride(graph: PooledGraph, align: int) -> int:
    """The greatest divisor of every stride, on both axes, of the convolutions that read."""
    return gcd(*(stride for i in graph.readers(align) for stride in strides(graph.nodes[i])))
