"""FastMask's losses and their gradients in numpy and float64, written from the definitions alone.

Hu et al. 2017, sections 3.2 and 5.2: a window sees an object that fits its scale and is centred in
it; three binary cross entropies, each the mean over its windows; masks after a fourfold bilinear
upsampling; attention is the object's box in the window's cells. Every window takes part.

Letters: W windows of a picture, G objects, M scored windows, P masked ones, m mask cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .numpy_mask_rcnn import Array, Term, Truth, Whole, away_from, cross_entropy, hats

CELLS = 10
HALF = CELLS // 2


def boxes_of_windows(levels: list[tuple[int, int]], strides: list[int]) -> Array:
    """(W, 4) squares of ten cells around every corner of a level's cells, row by row."""
    return np.array(
        [
            ((x - HALF) * s, (y - HALF) * s, (x + HALF) * s, (y + HALF) * s)
            for (height, width), s in zip(levels, strides, strict=True)
            for y in range(height + 1)
            for x in range(width + 1)
        ],
        float,
    )


def cut_windows(maps: list[Array]) -> Array:
    """L maps (C, h, w) of a picture -> (W, 10, 10, C), zeros around a map."""
    windows = []
    for level in maps:
        around = np.pad(level, ((0, 0), (HALF, HALF), (HALF, HALF))).transpose(1, 2, 0)
        for y in range(level.shape[1] + 1):
            windows += [around[y : y + CELLS, x : x + CELLS] for x in range(level.shape[2] + 1)]
    return np.stack(windows)


def normed(windows: Array) -> Array:
    """(M, 10, 10, C) of all pictures: mean 0 and variance 1 of each channel, padding included."""
    return (windows - windows.mean(axis=(0, 1, 2))) / np.sqrt(windows.var(axis=(0, 1, 2)) + 1e-5)


@dataclass(frozen=True)
class Seen:
    """What each window of a picture is trained for."""

    objects: Whole
    """(W,) the object, or -1."""
    trained: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """(W,) whether its score is: not beyond the picture or in a crowd."""
    hard: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """(W,) negatives that the published code trains."""


def seen(
    windows: Array, truth: Truth, size_hw: tuple[int, int], scales: tuple[float, float]
) -> Seen:
    """Windows (W, 4) one by one; `scales` are long sides over a window's."""
    objects, trained, hard = [], [], []
    for window in windows:
        center, side = (window[:2] + window[2:]) / 2, window[2] - window[0]
        nearest, which, difficult = np.inf, -1, False
        for number, box in enumerate(truth.boxes):
            share = (box[2:] - box[:2]).max() / side
            away = np.abs((box[:2] + box[2:]) / 2 - center)
            away_from(share, *scales)
            away_from(away / side, 1 / CELLS, 0.5)
            fits, centred = scales[0] <= share <= scales[1], away.max() <= side / CELLS
            if fits and centred and np.hypot(*away) < nearest:
                nearest, which = np.hypot(*away), number
            difficult |= fits != centred and (centred or away.max() <= side / 2)
        in_crowd = [(center >= x[:2]).all() and (center <= x[2:]).all() for x in truth.crowds]
        objects.append(which)
        trained.append(center[0] <= size_hw[1] and center[1] <= size_hw[0] and not any(in_crowd))
        hard.append(difficult and which < 0)
    return Seen(np.array(objects), np.array(trained), np.array(hard))


def mean_term(logits: Array, wanted: Array) -> Term:
    """Binary cross entropy, mean over everything."""
    return cross_entropy(logits, wanted, np.ones(wanted.shape, bool), wanted.size)


def mask_term(logits: Array, masks: Array) -> Term:
    """Of logits (P, m, m) and masks (P, 4 m, 4 m), compared after upsampling."""
    side = logits.shape[1]
    up = hats((np.arange(4 * side) + 0.5) / 4 - 0.5, side)  # (4 m, m)
    term = mean_term(up @ logits @ up.T, masks)
    return Term(term.value, up.T @ term.gradient @ up)


def mask_seen(mask: Array, window: Array, side: int) -> Array:
    """(side, side) shares of an object at the centres of a window's cells, nothing around masks."""
    around = np.pad(mask, 1)
    steps = (np.arange(side) + 0.5) / side
    x = window[0] + steps * (window[2] - window[0]) + 0.5
    y = window[1] + steps * (window[3] - window[1]) + 0.5
    return hats(y, around.shape[0]) @ around @ hats(x, around.shape[1]).T


def box_seen(box: Array, window: Array) -> Array:
    """(10, 10) the share of each of a window's cells that a box covers."""
    shares = []
    for low, high in ((1, 3), (0, 2)):
        cell = (window[high] - window[low]) / CELLS
        starts = window[low] + cell * np.arange(CELLS)
        covered = np.minimum(box[high], starts + cell) - np.maximum(box[low], starts)
        shares.append(np.clip(covered / cell, 0, 1))
    return np.outer(*shares)
