"""Rule `convolve_first`: 1x1 convolutions on the map, once, instead of on every pooled region.

    Conv[1x1, stride s] (RoIAlign[step a] (X, rois))  =  RoIAlign[step a s] (Conv[1x1] (X), rois)

Proof. Each bin of a region is a weighted mean of pixels, A X, with the same weights A for every
channel; a 1x1 convolution is W x + b at every pixel, the same for every pixel. Sums over pixels and
over channels change places, W (A X) = A (W X), and A b = b wherever the weights of a bin sum to 1.
So W (A X) + b = A (W X + b). The stride becomes a bin step by the identity of even_bins.py. What
follows the convolution (conv1's ReLU is not linear) stays behind the pooling.

The weights sum to 1 where all samples lie in [-1, size], for a sample's two weights along an axis
do and a bin is the mean of its samples. Boxes of our graphs are clipped to the picture, so their
samples lie in [-0.5, size - 0.5]; so do those of empty slots, boxes (0, 0, 0, 0), which then
pool the pixel at the corner. One case differs: with adaptive sampling (ratio 0) a box without
extent has no sample and pools 0, which the convolution turns into b and the rewritten graph
leaves 0. Only empty slots have no extent (proposals and detections are kept when x2 > x1 and
y2 > y1), and whatever comes of an empty slot is multiplied by 0 before it is ranked or returned.

Exact but for rounding: sums of products are made in another order.

It saves: the C5 subnet's conv1 and shortcut run on all regions, 1100 * 49 bins, but the map has
3800 pixels only (800x1216 px canvas); both box sets (proposals, then detections) read the same
convolved map. It costs: pooling 512 + 2048 channels instead of 1024. `check` weighs the
multiply-accumulates of both, the pooling's two products per box included (`operators.py`: a (Q, W)
and a (Q, H) matrix of weights for every box and channel).
"""

from __future__ import annotations

from math import prod

import onnx

from .pooled_graph import (
    PooledGraph,
    Replacement,
    Shape,
    Site,
    attributes,
    changed,
    label,
    strides,
)


def pattern(graph: PooledGraph) -> list[Site]:
    """All RoIAligns of one map together: they share its convolutions."""
    by_map: dict[str, list[int]] = {}
    for align in graph.aligns:
        by_map.setdefault(graph.nodes[align].input[0], []).append(align)
    return [tuple(aligns) for aligns in by_map.values()]


def check(graph: PooledGraph, site: Site) -> str:
    """Why the convolutions stay behind the pooling; "" where they may move and it pays."""
    reasons = [graph.why_not_pointwise(align) for align in site]
    reasons += [_why_uneven(graph.nodes[i]) for i in _convolutions(graph, site)]
    reason = next((reason for reason in reasons if reason), "")
    return reason or _why_dear(graph, site)


def rewrite(graph: PooledGraph, site: Site) -> Replacement:
    """Put each convolution once before the first RoIAlign, and a RoIAlign in each one's place."""
    result: Replacement = {align: [] for align in site}
    on_map: dict[tuple[str, ...], onnx.NodeProto] = {}
    for align in site:
        for i in graph.readers(align):
            convolution = graph.nodes[i]
            weights = tuple(convolution.input[1:])
            if weights not in on_map:
                on_map[weights] = _on_map(convolution, graph.nodes[align].input[0])
            result[i] = [_pooled(graph.nodes[align], convolution, on_map[weights])]
    result[site[0]] = list(on_map.values())
    return result


def _on_map(convolution: onnx.NodeProto, source: str) -> onnx.NodeProto:
    """The convolution on the whole map; its metadata still names its module."""
    node = changed(convolution, strides=[1, 1])
    node.input[0] = source
    node.output[0] = f"{convolution.output[0]}_on_map"
    node.name = f"{convolution.name or convolution.output[0]}_on_map"
    return node


def _pooled(
    align: onnx.NodeProto, convolution: onnx.NodeProto, on_map: onnx.NodeProto
) -> onnx.NodeProto:
    """The RoIAlign of a convolved map that gives what the convolution of regions gave."""
    step = attributes(align).get("bin_step", 1) * strides(convolution)[0]
    node = changed(align, bin_step=step)
    node.input[0] = on_map.output[0]
    node.output[0] = convolution.output[0]
    node.name = f"{align.name or align.output[0]}_of_{convolution.output[0]}"
    return node


def _convolutions(graph: PooledGraph, site: Site) -> list[int]:
    return [i for align in site for i in graph.readers(align)]


def _why_uneven(node: onnx.NodeProto) -> str:
    """Why a reader's strides are no bin step, which counts rows and columns alike."""
    rows, columns = strides(node)
    return "" if rows == columns else f"{label(node)} has stride {rows}x{columns}, not one for both"


def _why_dear(graph: PooledGraph, site: Site) -> str:
    """Why the exchange does not pay, in multiply-accumulates of one run; "" where it does."""
    names = [graph.nodes[site[0]].input[0]]
    names += [graph.nodes[align].output[0] for align in site]
    names += [graph.nodes[i].output[0] for i in _convolutions(graph, site)]
    missing = [name for name in names if 0 in graph.shapes.get(name, (0,))]
    if missing:
        return f"the shape of '{missing[0]}' is not static, so nothing says whether it pays"
    before, after = macs(graph, site)
    if after < before:
        return ""
    return f"{after:.3g} multiply-accumulates instead of {before:.3g}: it would not pay"


def macs(graph: PooledGraph, site: Site) -> tuple[int, int]:
    """Multiply-accumulates of one run at a site: as it is, and rewritten.

    As it is the map is pooled and every convolution runs on the regions; rewritten, each distinct
    convolution runs on the map and each one's result is pooled.
    """
    images, _, height, width = graph.shapes[graph.nodes[site[0]].input[0]]
    behind = sum(_pooling_macs(graph, align, graph.nodes[align].output[0]) for align in site)
    first = 0
    kernels: dict[tuple[str, ...], Shape] = {}
    for align in site:
        for node in (graph.nodes[i] for i in graph.readers(align)):
            kernel = kernels[tuple(node.input[1:])] = graph.stored[node.input[1]]
            behind += _convolution_macs(graph.shapes[node.output[0]], kernel)
            first += _pooling_macs(graph, align, node.output[0])
    maps = [(images, kernel[0], height, width) for kernel in kernels.values()]
    first += sum(map(_convolution_macs, maps, kernels.values()))
    return behind, first


def _convolution_macs(output: Shape, kernel: Shape) -> int:
    return prod(output) * prod(kernel[1:])


def _pooling_macs(graph: PooledGraph, align: int, output: str) -> int:
    """Of the portable body, which contracts columns, then rows, for the regions in `output`."""
    _, _, height, width = graph.shapes[graph.nodes[align].input[0]]
    boxes, channels, bins, _ = graph.shapes[output]
    return boxes * channels * bins * height * (width + bins)
