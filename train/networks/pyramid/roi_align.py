"""RoIAlign over the levels of a pyramid: each box is pooled from the level that its area chooses.

A box of area a (canvas px^2) is on level l of L, l being how many of the L - 1 rising `borders` a
reaches. On its level it is RoIAlign as in `roi_align`, scaled by 1 / stride. Where `aligned` is off
the half pixel is not taken off and a box is at least one cell wide and high (torchvision's
MultiScaleRoIAlign); `engines/kernels/reference.py` is the full specification.

Libraries compute a level by a logarithm in FP32:

    floor(canonical_level + log2(sqrt(a) / canonical_px + ratio_eps) + level_eps)

    Detectron2     canonical_level 4, canonical_px 224, ratio_eps 1e-8   of levels 2 to 5
    torchvision    canonical_level 4, canonical_px 224, level_eps 1e-6   of levels 2 to 5
    MMDetection    canonical_level 0, canonical_px 56, ratio_eps 1e-6    of levels 0 to 3

`level_borders` finds the least area that this gives a level, so a comparison, which is exact
everywhere, takes the logarithm's place. Sources: Detectron2 modeling/poolers.py at 02b5c4e2,
torchvision ops/poolers.py 0.29.1, MMDetection single_level_roi_extractor.py 3.3.0.

torch's `grid_sample` takes the samples: of all boxes at once from the levels in one map, or, where
boxes differ in their samples, of those of as many; the gradient is that of the features alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Bit patterns of positive floats are in the order of their values; this is infinity's.
_INFINITY_BITS = 0x7F800000
_OUTSIDE = -2.0


@functools.cache  # 90 steps of torch; training asks for the same at every step
def level_borders(
    levels: tuple[int, ...],
    canonical_level: int,
    canonical_px: float,
    *,
    ratio_eps: float = 0.0,
    level_eps: float = 0.0,
) -> tuple[float, ...]:
    """The least areas (px^2, FP32 values) of the boxes on each level but the first; L - 1, rising.

    Args:
        levels: the numbers of the L levels, finest first, as (2, 3, 4, 5).
        canonical_level: the level of a box of `canonical_px`.
        canonical_px: side of a square in canvas px, > 0.
        ratio_eps: added to the ratio of sides before the logarithm.
        level_eps: added to the level before it is rounded down.
    """

    def level_of(bits: int) -> float:
        side = torch.tensor([bits], dtype=torch.int32).view(torch.float32).sqrt()
        level = canonical_level + torch.log2(side / canonical_px + ratio_eps) + level_eps
        return float(level.floor())

    borders = []
    for level in levels[1:]:
        below, reached = 0, _INFINITY_BITS
        while reached - below > 1:
            middle = (below + reached) // 2
            below, reached = (below, middle) if level_of(middle) >= level else (middle, reached)
        borders.append(float(torch.tensor([reached], dtype=torch.int32).view(torch.float32)))
    return tuple(borders)


def box_levels(rois: Tensor, borders: Sequence[float]) -> Tensor:
    """(..., 4) float32 xyxy px -> (...) int64 level, 0 the finest; an area that is NaN is on it."""
    sides = rois[..., 2:] - rois[..., :2]
    area = sides[..., 0] * sides[..., 1]
    return (area[..., None] >= area.new_tensor(borders)).sum(dim=-1)


def pyramid_roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    output_size: int,
    strides: Sequence[int],
    sampling_ratio: int,
    borders: Sequence[float],
    *,
    aligned: bool = True,
) -> Tensor:
    """Pool each box from its level to `output_size` x `output_size` cells, differentiable.

    Args:
        features: L maps (B, C, h, w) float, finest first.
        rois: (B, K, 4) float32 xyxy boxes in canvas pixels, row b of image b.
        output_size: P, cells per side.
        strides: L, canvas pixels per cell of each level.
        sampling_ratio: S, samples per cell and axis; 0 is adaptive.
        borders: L - 1 areas, see `level_borders`.
        aligned: whether pixel and cell centres are both at +0.5.

    Returns:
        (B * K, C, P, P) of the features' dtype.
    """
    boxes = rois.detach().float().reshape(-1, 4)
    level = box_levels(boxes, borders)
    scale = boxes.new_tensor([1 / stride for stride in strides])[level, None]
    low, extent = _on_level(boxes, scale, aligned)
    wide = [x.float() for x in features]
    if sampling_ratio:
        bins = _of_atlas(wide, level, low, extent, output_size, sampling_ratio)
    else:
        bins = _by_samples(wide, level, low, extent, output_size)
    return bins.to(features[0].dtype)


def _of_atlas(
    features: Sequence[Tensor], level: Tensor, low: Tensor, extent: Tensor, cells: int, samples: int
) -> Tensor:
    """All boxes at once, from all levels in one map -> (N, C, P, P)."""
    atlas, count = atlas_of(features), cells * samples
    batch, channels, height, width = atlas.shape
    sizes = level.new_tensor([x.shape[2:] for x in features])  # (L, 2)
    tops = (sizes[:, 0] + 1).cumsum(0) - (sizes[:, 0] + 1)
    h, w = sizes[level, :1], sizes[level, 1:]  # (N, 1)
    x = _frame(_positions(low[:, 0], extent[:, 0], samples, w, cells), 0, width)
    y = _frame(_positions(low[:, 1], extent[:, 1], samples, h, cells), tops[level, None], height)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    boxes = len(low) // batch
    grid = grid.reshape(batch, boxes * count, count, 2)
    found = F.grid_sample(atlas, grid, "bilinear", "zeros", align_corners=False)
    bins = found.reshape(batch, channels, boxes, cells, samples, cells, samples).mean(dim=(4, 6))
    return bins.transpose(1, 2).flatten(0, 1)


def _by_samples(
    features: Sequence[Tensor], level: Tensor, low: Tensor, extent: Tensor, cells: int
) -> Tensor:
    """Adaptive: boxes of one image, one level and as many samples together -> (N, C, P, P)."""
    longest = low.new_tensor([max(x.shape[2:]) for x in features])[level, None]
    samples = _sample_counts(extent, longest, cells)
    images, channels = features[0].shape[:2]
    image = torch.arange(len(low), device=low.device) // max(len(low) // images, 1)
    keys = torch.cat((image[:, None], level[:, None], samples), dim=1)
    groups, group_of = keys.unique(dim=0, return_inverse=True)
    bins = [features[0].new_zeros(0, channels, cells, cells)]
    slots = [group_of.new_zeros(0)]
    for number, (b, k, columns, rows) in enumerate(groups.tolist()):
        slots.append((group_of == number).nonzero()[:, 0])
        placed = (low[slots[-1]], extent[slots[-1]], columns, rows)
        bins.append(_bins(features[k][b], *placed, cells))
    return torch.cat(bins)[torch.cat(slots).argsort()]


def _on_level(boxes: Tensor, scale: Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
    """(N, 4) px -> the corner (N, 2) and the extent (N, 2) in cells, x before y."""
    corners = boxes * scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    return corners[:, :2], extent if aligned else extent.clamp(min=1)


def _sample_counts(extent: Tensor, longest: Tensor, cells: int) -> Tensor:
    """(N, 2) samples per bin along x and y, int64; not more than a box as large as the map has."""
    wanted = torch.minimum((extent / cells).ceil(), (longest / cells).ceil())
    return torch.where(extent > 0, wanted, 0).long()  # 0 for NaN


def _bins(
    image: Tensor, low: Tensor, extent: Tensor, columns: int, rows: int, cells: int
) -> Tensor:
    """(C, h, w) and n boxes of `columns` x `rows` samples per bin -> (n, C, P, P)."""
    boxes, (channels, height, width) = len(low), image.shape
    if not columns or not rows:
        return image.new_zeros(boxes, channels, cells, cells)
    x = _frame(_positions(low[:, 0], extent[:, 0], columns, width, cells), 0, width)
    y = _frame(_positions(low[:, 1], extent[:, 1], rows, height, cells), 0, height)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    grid = grid.reshape(1, boxes * cells * rows, cells * columns, 2)
    samples = F.grid_sample(image[None], grid, "bilinear", "zeros", align_corners=False)
    bins = samples.reshape(channels, boxes, cells, rows, cells, columns).mean(dim=(3, 5))
    return bins.transpose(0, 1)


def _positions(low: Tensor, extent: Tensor, samples: int, size: Tensor | int, cells: int) -> Tensor:
    """(n,) ends in cells -> (n, P * S) samples on a map of `size` cells, or (n, 1); NaN outside."""
    at = torch.arange(cells * samples, device=low.device, dtype=low.dtype)
    steps = at.div(samples, rounding_mode="floor") + (at % samples + 0.5) / samples
    at = low[:, None] + steps * (extent / cells)[:, None]
    outside = ~((at >= -1) & (at <= size))
    last = torch.as_tensor(size - 1, dtype=at.dtype, device=at.device)
    return torch.minimum(at.clamp(min=0), last).masked_fill(outside, torch.nan)


def _frame(at: Tensor, first: Tensor | int, size: int) -> Tensor:
    """Cells of a map at `first` of `size` cells, in the frame of `grid_sample`; NaN far outside."""
    return ((2 * (at + first) + 1) / size - 1).nan_to_num(_OUTSIDE)


def atlas_of(features: Sequence[Tensor]) -> Tensor:
    """L maps (B, C, h, w) below each other in one, (B, C, sum of h + L - 1, widest).

    Zeros are on the right of the narrower ones and in a row between two.
    """
    widest = max(x.shape[3] for x in features)
    first, *others = features
    if first.shape[3] < widest:
        first = F.pad(first, (0, widest - first.shape[3]))
    return torch.cat([first, *(F.pad(x, (0, widest - x.shape[3], 1, 0)) for x in others)], dim=2)


def maps_of(atlas: Tensor, levels: Sequence[tuple[int, int]]) -> list[Tensor]:
    """The maps (B, C, h, w) that `atlas_of` put together."""
    maps, top = [], 0
    for height, width in levels:
        maps.append(atlas[:, :, top : top + height, :width])
        top += height + 1
    return maps


def pyramid_roi_align_operator(
    features: Sequence[Tensor],
    rois: Tensor,
    output_size: int,
    strides: Sequence[int],
    sampling_ratio: int,
    borders: Sequence[float],
    *,
    aligned: bool = True,
) -> Tensor:
    """`pyramid_roi_align` as one opaque operator, so that the exporter sees a single node.

    It takes the levels as one map, see `atlas_of`, which exports as nodes before it.
    """
    shapes = [side for x in features for side in x.shape[2:]]
    pooled: Tensor = _atlas_operator(
        atlas_of(features),
        rois,
        shapes,
        list(strides),
        output_size,
        sampling_ratio,
        list(borders),
        aligned,
    )
    return pooled


@torch.library.custom_op("maskrt::pyramid_roi_align", mutates_args=())
def _atlas_operator(
    atlas: Tensor,
    rois: Tensor,
    spatial_shapes: list[int],
    strides: list[int],
    output_size: int,
    sampling_ratio: int,
    borders: list[float],
    aligned: bool,
) -> Tensor:
    """Atlas and (B, K, 4) -> (B * K, C, P, P); `spatial_shapes` is h0, w0, h1, w1, ..."""
    levels = list(zip(spatial_shapes[::2], spatial_shapes[1::2], strict=True))
    pooled = pyramid_roi_align(
        maps_of(atlas, levels),
        rois,
        output_size,
        strides,
        sampling_ratio,
        borders,
        aligned=aligned,
    )
    return pooled.contiguous()


@_atlas_operator.register_fake
def _(
    atlas: Tensor,
    rois: Tensor,
    spatial_shapes: list[int],
    strides: list[int],
    output_size: int,
    sampling_ratio: int,
    borders: list[float],
    aligned: bool,
) -> Tensor:
    slots = rois.shape[0] * rois.shape[1]
    return atlas.new_empty(slots, atlas.shape[1], output_size, output_size)
