"""Losses of FastMask and DeepMask*: which windows are trained, their targets, three terms.

A window is positive for an object whose long side is within `scale_range` of the window's side and
whose centre lies within `center_cells` cells of the window's, per axis; the object with the nearest
centre wins. Negatives are drawn partly from the hard ones: centred on an object of another scale,
or seeing an object of fitting scale off centre. The published code trains no other negatives
(`compat: original`); the paper draws from all windows.

Objectness, attention and mask are binary cross entropies, 1:1:1, each averaged over its own sample
of windows (the paper's Eq. 1 divides by all windows; the code averages as here). Masks are compared
after the fourfold upsampling, with soft targets of the whole object, all its parts.

DeepMask* is trained by patches: the same windows, each cut out of the picture and scaled to one
stride-16 window with one cell of context around it, so both see the same objects and targets.

Sources: Hu et al. 2017, section 5.2; voidrank/FastMask spiders/ at cb118f1. Letters: W windows, G
objects, M sampled windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.target import Target
from ..networks.fastmask import STRIDE, FastMask, level_shapes, level_strides
from ..networks.window_head import upsampled
from ..networks.windows import WINDOW, Level, cut_windows, pack, window_boxes
from ..recipes.fastmask import WindowConfig

ORIGINAL_SCALE_RANGE = (0.42, 0.68)
CONTEXT_CELLS = 1
"""Around a patch, so that its border cells do not only see padding (DeepMask uses 16 px)."""


@dataclass(frozen=True)
class Sample:
    """Windows of one picture that are trained."""

    scored: Tensor
    """(M,) window numbers for the objectness loss."""
    labels: Tensor
    """(M,) 1 where one is positive."""
    masked: Tensor
    """(P,) positive window numbers for the attention and mask losses."""
    objects: Tensor
    """(P,) the object of each."""


@dataclass(frozen=True)
class Normalized:
    """Windows after their norm, ready for the head."""

    scored: Tensor
    """(M, 10, 10, C), all pictures' windows for objectness."""
    masked: Tensor
    """(P, 10, 10, C), all pictures' windows for attention and mask."""


def fastmask_losses(
    model: FastMask,
    images: Tensor,
    image_sizes: Tensor,
    targets: list[Target],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """All loss terms of one batch.

    Args:
        model: in training mode.
        images: (B, H, W, 3) uint8 RGB canvases.
        image_sizes: (B, 2) int32.
        targets: B ground truths.
        generator: CPU generator; decides all sampling, so equal states give equal losses.
    """
    x = model.normalize(images, image_sizes)
    config, canvas_hw = model.recipe.model, (x.shape[2], x.shape[3])
    shapes = level_shapes(config, canvas_hw, config.train_strides)
    boxes = window_boxes(shapes, level_strides(config, canvas_hw, config.train_strides)).to(x)
    rule = window_rule(model)
    samples = [
        sample_windows(boxes, target, size, rule, generator)
        for target, size in zip(targets, image_sizes.tolist(), strict=True)
    ]
    windows = (
        _from_pyramid(model, x, shapes, samples)
        if model.neck is not None
        else _from_patches(model, x, boxes, samples)
    )
    return _terms(model, windows, boxes, samples, targets, generator)


def window_rule(model: FastMask) -> WindowConfig:
    """The recipe's rule, with the published code's figures where `compat` asks for them."""
    from dataclasses import replace

    rule = model.recipe.windows
    if model.recipe.model.compat == "paper":
        return rule
    return replace(rule, scale_range=ORIGINAL_SCALE_RANGE, hard_share=1.0)


def sample_windows(
    windows: Tensor,
    target: Target,
    size_hw: list[int],
    rule: WindowConfig,
    generator: torch.Generator,
) -> Sample:
    """Choose the windows of one picture.

    Args:
        windows: (W, 4) xyxy canvas px.
        target: G objects.
        size_hw: valid height and width in px.
        rule: how many and which.
        generator: draws them.
    """
    objects, hard = assign(windows, target.boxes, rule)
    center = (windows[:, :2] + windows[:, 2:]) / 2
    allowed = (center[:, 0] <= size_hw[1]) & (center[:, 1] <= size_hw[0])
    allowed &= ~_inside_any(center, target.crowd_boxes)
    positives = torch.nonzero((objects >= 0) & allowed)[:, 0]
    negative = (objects < 0) & allowed
    half = rule.objectness_batch // 2
    chosen = _draw(positives, half, generator)
    difficult = _draw(
        torch.nonzero(negative & hard)[:, 0], round(half * rule.hard_share), generator
    )
    easy = torch.zeros(0, dtype=torch.int64, device=windows.device)
    if rule.hard_share < 1:
        easy = _draw(torch.nonzero(negative)[:, 0], half - len(difficult), generator)
    scored = torch.cat((chosen, difficult, easy))
    labels = torch.zeros(len(scored), device=windows.device)
    labels[: len(chosen)] = 1
    masked = _draw(positives, rule.mask_batch, generator)
    return Sample(scored, labels, masked, objects[masked])


def assign(windows: Tensor, boxes: Tensor, rule: WindowConfig) -> tuple[Tensor, Tensor]:
    """The object of each window, and which windows are hard negatives.

    Args:
        windows: (W, 4) xyxy.
        boxes: (G, 4) xyxy of objects.
        rule: scale range and centre rule.

    Returns:
        (W,) int64 object number or -1; (W,) bool.
    """
    if not len(boxes):
        nothing = torch.full((len(windows),), -1, dtype=torch.int64, device=windows.device)
        return nothing, nothing >= 0
    side = (windows[:, 2:] - windows[:, :2]).amax(dim=1)[:, None]  # (W, 1)
    long_side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)[None]  # (1, G)
    share = long_side / side
    fits = (share >= rule.scale_range[0]) & (share <= rule.scale_range[1])
    away = _centers(windows)[:, None] - _centers(boxes)[None]  # (W, G, 2)
    furthest = away.abs().amax(dim=2)
    centered = furthest <= rule.center_cells * side / WINDOW
    distance = away.square().sum(dim=2).masked_fill(~(fits & centered), torch.inf)
    nearest, number = distance.min(dim=1)
    objects = torch.where(nearest.isfinite(), number, -1)
    hard = (centered & ~fits) | (fits & ~centered & (furthest <= side / 2))
    return objects, hard.any(dim=1) & (objects < 0)


def _centers(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _inside_any(points: Tensor, boxes: Tensor) -> Tensor:
    """(W,) whether a point (W, 2) lies in any of the boxes (X, 4)."""
    after = points[:, None] >= boxes[None, :, :2]
    before = points[:, None] <= boxes[None, :, 2:]
    return (after & before).all(dim=2).any(dim=1)


def _draw(candidates: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` of the candidates, none twice."""
    order = torch.randperm(len(candidates), generator=generator)[:count]
    return candidates[order.to(candidates.device)]


def _from_pyramid(
    model: FastMask, x: Tensor, shapes: list[Level], samples: list[Sample]
) -> Normalized:
    """Windows of the feature pyramid; their norm sees every window of the batch."""
    maps = model.levels(x, model.recipe.model.train_strides)
    scale, shift = model.norm.of_maps(maps)
    pyramid = pack([level.float() for level in maps])

    def cut(numbers: list[Tensor]) -> Tensor:
        picture = torch.cat([torch.full_like(n, i) for i, n in enumerate(numbers)])
        return cut_windows(pyramid, picture, torch.cat(numbers), shapes) * scale + shift

    return Normalized(cut([s.scored for s in samples]), cut([s.masked for s in samples]))


def _from_patches(model: FastMask, x: Tensor, boxes: Tensor, samples: list[Sample]) -> Normalized:
    """Windows as pictures of their own, each through the body by itself."""
    scored, masked = (
        torch.cat(
            [
                patch(x[i], boxes[number])
                for i, sample in enumerate(samples)
                for number in getattr(sample, name)
            ]
            or [x.new_zeros(0, 3, PATCH_PX, PATCH_PX)]
        )
        for name in ("scored", "masked")
    )
    if not len(scored) + len(masked):  # say, under one crowd: no statistics to take
        nothing = x.new_zeros(0, WINDOW, WINDOW, model.recipe.model.reduced_channels)
        return Normalized(nothing, nothing)
    (maps,) = model.body(torch.cat((scored, masked)))
    inner = slice(CONTEXT_CELLS, CONTEXT_CELLS + WINDOW)
    windows = model.reduce(maps[:, :, inner, inner]).permute(0, 2, 3, 1).float()
    scale, shift = model.norm.of_windows(windows)
    windows = windows * scale + shift
    return Normalized(windows[: len(scored)], windows[len(scored) :])


PATCH_PX = STRIDE * (WINDOW + 2 * CONTEXT_CELLS)


def patch(picture: Tensor, window: Tensor) -> Tensor:
    """(3, H, W) and one window (4,) -> (1, 3, 192, 192), its context included; 0 outside."""
    center = (window[:2] + window[2:]) / 2
    half = (window[2:] - window[:2]) / 2 * (PATCH_PX / (STRIDE * WINDOW))
    x0, y0 = (int(v) for v in (center - half).round())
    x1, y1 = (int(v) for v in (center + half).round())
    height, width = picture.shape[1:]
    inside = picture[:, max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    around = (max(-x0, 0), max(x1 - width, 0), max(-y0, 0), max(y1 - height, 0))
    whole = F.pad(inside, around)[None]
    return F.interpolate(whole, size=(PATCH_PX, PATCH_PX), mode="bilinear", align_corners=False)


def _terms(
    model: FastMask,
    windows: Normalized,
    boxes: Tensor,
    samples: list[Sample],
    targets: list[Target],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The three losses; a term without windows is 0 and keeps its gradient's graph."""
    scores = model.head.scores(windows.scored, generator)
    logits, attention = model.head.masks(windows.masked)
    side_px = 4 * model.head.cells
    frames = torch.cat([boxes[s.masked] for s in samples])
    wanted = torch.cat(
        [
            mask_targets(t.masks, s.objects, boxes[s.masked], side_px)
            for t, s in _zip(targets, samples)
        ]
    )
    terms = {
        "objectness": _mean_bce(scores, torch.cat([s.labels for s in samples])),
        "mask": _mean_bce(upsampled(logits.float()), wanted),
    }
    if attention is not None:
        objects = torch.cat([t.boxes[s.objects] for t, s in _zip(targets, samples)])
        terms["attention"] = _mean_bce(attention, attention_targets(objects, frames))
    return terms


def _zip(targets: list[Target], samples: list[Sample]) -> list[tuple[Target, Sample]]:
    return list(zip(targets, samples, strict=True))


def _mean_bce(logits: Tensor, wanted: Tensor) -> Tensor:
    if not logits.numel():
        return logits.float().sum()
    return F.binary_cross_entropy_with_logits(logits.float(), wanted)


def mask_targets(masks: Tensor, objects: Tensor, windows: Tensor, side_px: int) -> Tensor:
    """Objects' masks seen through windows.

    Args:
        masks: (G, h, w) uint8.
        objects: (P,) object of each window.
        windows: (P, 4) xyxy px.
        side_px: of the result.

    Returns:
        (P, side_px, side_px) float32 in [0, 1], bilinear, 0 outside the picture.
    """
    x0, x1, part_x = _taps(windows[:, 0], windows[:, 2], side_px, masks.shape[2])
    y0, y1, part_y = _taps(windows[:, 1], windows[:, 3], side_px, masks.shape[1])
    padded = F.pad(masks, (1, 1, 1, 1))
    number = objects[:, None, None]

    def row(y: Tensor) -> Tensor:
        left = padded[number, y[:, :, None], x0[:, None, :]].float()
        right = padded[number, y[:, :, None], x1[:, None, :]].float()
        return left + (right - left) * part_x[:, None, :]

    top = row(y0)
    return top + (row(y1) - top) * part_y[:, :, None]


def _taps(low: Tensor, high: Tensor, count: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of `count` samples between two edges: two pixels of a map padded by one, and the way."""
    steps = (torch.arange(count, device=low.device) + 0.5) / count
    at = low[:, None] + steps * (high - low)[:, None] + 0.5  # 0.5 is the padded map's first centre
    at = at.clamp(0, length + 1)
    first = at.long().clamp(max=length)
    return first, first + 1, at - first


def attention_targets(boxes: Tensor, windows: Tensor) -> Tensor:
    """(P, 4) objects and windows -> (P, 10, 10): the share of each cell that the box covers.

    The code draws the box on 160 px and shrinks it; this is what that approximates.
    """
    shares = []
    for low, high in ((1, 3), (0, 2)):
        cell = ((windows[:, high] - windows[:, low]) / WINDOW)[:, None]
        start = windows[:, low, None] + cell * torch.arange(WINDOW, device=boxes.device)
        end = torch.minimum(boxes[:, high, None], start + cell)
        covered = end - torch.maximum(boxes[:, low, None], start)
        shares.append(covered.clamp(min=0) / cell)
    return shares[0][:, :, None] * shares[1][:, None, :]
