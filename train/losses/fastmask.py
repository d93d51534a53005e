"""Losses of FastMask and DeepMask*: three terms of the windows that `fastmask_windows` draws.

Objectness, attention and mask are binary cross entropies, 1:1:1, each averaged over its own sample
of windows (the paper's Eq. 1 divides by all windows; the code averages as here). Masks are compared
after the fourfold upsampling, with soft targets of the whole object, all its parts.

DeepMask* is trained by patches: the same windows, each cut out of the picture and scaled to one
stride-16 window with one cell of context around it, so both see the same objects and targets.

Sources: Hu et al. 2017, section 5.2; voidrank/FastMask spiders/ at cb118f1. Letters: W windows, G
objects, M sampled windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.target import Target
from ..networks.fastmask import STRIDE, FastMask, level_shapes, level_strides
from ..networks.window_head import upsampled
from ..networks.windows import WINDOW, Level, cut_windows, pack, window_boxes
from .counts import shared_count
from .fastmask_windows import SampledWindows, sample_windows, window_rule
from .mask_targets import cut_masks

CONTEXT_CELLS = 1
"""Around a patch, so that its border cells do not only see padding (DeepMask uses 16 px)."""


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
    """Three terms (two without attention); arguments as `terms.loss_terms`."""
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


def _from_pyramid(
    model: FastMask, x: Tensor, shapes: list[Level], samples: list[SampledWindows]
) -> Normalized:
    """Windows of the feature pyramid; their norm sees every window of the batch."""
    maps = model.levels(x, model.recipe.model.train_strides)
    scale, shift = model.norm.of_maps(maps)
    pyramid = pack([level.float() for level in maps])

    def cut(numbers: list[Tensor]) -> Tensor:
        picture = torch.cat([torch.full_like(n, i) for i, n in enumerate(numbers)])
        return cut_windows(pyramid, picture, torch.cat(numbers), shapes) * scale + shift

    return Normalized(cut([s.scored for s in samples]), cut([s.masked for s in samples]))


def _from_patches(
    model: FastMask, x: Tensor, boxes: Tensor, samples: list[SampledWindows]
) -> Normalized:
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
        for layer in (model.body, model.reduce, model.norm):  # none without a gradient: DDP waits
            nothing = nothing + sum(weights.sum() for weights in layer.parameters())
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
    samples: list[SampledWindows],
    targets: list[Target],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The three losses; a term without windows is 0 and keeps its gradient's graph."""
    scores = model.head.scores(windows.scored, generator)
    logits, attention = model.head.masks(windows.masked)
    side_px = 4 * model.head.cells
    frames = torch.cat([boxes[s.masked] for s in samples])
    wanted = torch.cat(
        [cut_masks(t.masks, s.objects, boxes[s.masked], side_px) for t, s in _zip(targets, samples)]
    )
    terms = {
        "objectness": _mean_bce(scores, torch.cat([s.labels for s in samples])),
        "mask": _mean_bce(upsampled(logits.float()), wanted),
    }
    if attention is not None:
        objects = torch.cat([t.boxes[s.objects] for t, s in _zip(targets, samples)])
        terms["attention"] = _mean_bce(attention, attention_targets(objects, frames))
    return terms


def _zip(
    targets: list[Target], samples: list[SampledWindows]
) -> list[tuple[Target, SampledWindows]]:
    return list(zip(targets, samples, strict=True))


def _mean_bce(logits: Tensor, wanted: Tensor) -> Tensor:
    """Over all windows (M, ...) of the batch; 0 with its gradient's graph where there are none."""
    total = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum")
    return total / (shared_count(len(logits), logits.device) * math.prod(logits.shape[1:]))


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
