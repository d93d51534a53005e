"""Which windows FastMask and DeepMask* train on, and for which objects.

A window is positive for an object whose long side is within `scale_range` of the window's side and
whose centre lies within `center_cells` cells of the window's, per axis; the object with the nearest
centre wins. Negatives are drawn partly from the hard ones: centred on an object of another scale,
or seeing an object of fitting scale off centre. The published code trains no other negatives
(`compat: original`); the paper draws from all windows.

Sources: Hu et al. 2017, section 5.2; voidrank/FastMask spiders/ at cb118f1. Letters: W windows, G
objects, M sampled windows, P of them for the mask.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.target import Target
from ..networks.fastmask import FastMask
from ..networks.windows import WINDOW
from ..recipes.fastmask import WindowConfig
from .sampling import draw

ORIGINAL_SCALE_RANGE = (0.42, 0.68)


@dataclass(frozen=True)
class SampledWindows:
    """Windows of one picture that are trained."""

    scored: Tensor
    """(M,) window numbers for the objectness loss."""
    labels: Tensor
    """(M,) 1 where one is positive."""
    masked: Tensor
    """(P,) positive window numbers for the attention and mask losses."""
    objects: Tensor
    """(P,) the object of each."""


def window_rule(model: FastMask) -> WindowConfig:
    """The recipe's rule, with the published code's figures where `compat` asks for them."""
    rule = model.recipe.windows
    if model.recipe.model.compat == "paper":
        return rule
    return dataclasses.replace(rule, scale_range=ORIGINAL_SCALE_RANGE, hard_share=1.0)


def sample_windows(
    windows: Tensor,
    target: Target,
    size_hw: list[int],
    rule: WindowConfig,
    generator: torch.Generator,
) -> SampledWindows:
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
    chosen = draw(positives, half, generator)
    difficult = draw(torch.nonzero(negative & hard)[:, 0], round(half * rule.hard_share), generator)
    easy = torch.zeros(0, dtype=torch.int64, device=windows.device)
    if rule.hard_share < 1:
        easy = draw(torch.nonzero(negative)[:, 0], half - len(difficult), generator)
    scored = torch.cat((chosen, difficult, easy))
    labels = torch.zeros(len(scored), device=windows.device)
    labels[: len(chosen)] = 1
    masked = draw(positives, rule.mask_batch, generator)
    return SampledWindows(scored, labels, masked, objects[masked])


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
