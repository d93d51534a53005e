"""Mask R-CNN's losses and their gradients in numpy and float64, written from the definitions alone.

Ren et al. 2015, section 3.1.2 (anchors 0.7 and 0.3, each object's best whatever its overlap); He et
al. 2017, section 3 (a RoI of IoU 0.5 is positive, masks of the true class alone); Detectron2
(`BATCH_SIZE_PER_IMAGE` times pictures divides both RPN terms, sampled RoIs both box terms; smooth
L1 of beta 0). Every anchor and every RoI takes part; what lies mostly in a crowd is no background.

Letters: B pictures, N anchors, K RoIs of a picture, G objects, C classes, m mask side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

UNUSED = -1
MARGIN = 1e-5
"""No overlap and no mask may be nearer to its threshold than float32 could tell."""


@dataclass(frozen=True)
class Truth:
    """Objects of a picture: boxes (G, 4), classes (G,), masks (G, h, w) and crowds (X, 4)."""

    boxes: Array
    labels: Whole
    masks: Array
    crowds: Array


@dataclass(frozen=True)
class Term:
    """A loss and its gradient with respect to what the network said."""

    value: float
    gradient: Array


def grid_anchors(
    hw: tuple[int, int], stride: int, sizes: list[float], ratios: list[float]
) -> Array:
    """(N, 4), centred on multiples of the stride: rows, columns, sizes, heights over widths."""
    boxes = [
        (x * stride, y * stride, size / ratio**0.5, size * ratio**0.5)
        for y in range(hw[0])
        for x in range(hw[1])
        for size in sizes
        for ratio in ratios
    ]
    return np.array([(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in boxes])


def moved(boxes: Array, deltas: Array, size_hw: tuple[int, int]) -> Array:
    """Boxes (N, 4) after deltas of weights 1, limited to the picture; no area, no box."""
    sides = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + sides / 2 + deltas[:, :2] * sides
    sides = sides * np.exp(np.minimum(deltas[:, 2:], np.log(1000 / 16)))
    corners = np.concatenate((center - sides / 2, center + sides / 2), axis=1)
    height, width = size_hw
    corners = np.clip(corners, 0, [width, height, width, height])
    return corners[(corners[:, 2:] > corners[:, :2]).all(axis=1)]


def rpn_terms(
    logits: Array, deltas: Array, anchors: Array, truths: list[Truth], per_picture: int
) -> tuple[Term, Term]:
    """Objectness of logits (B, N), and boxes of deltas (B, N, 4)."""
    wanted, codes = np.full(logits.shape, UNUSED), np.zeros(deltas.shape)
    for picture, truth in enumerate(truths):
        wanted[picture], matches = anchor_labels(anchors, truth)
        hit = wanted[picture] == 1
        codes[picture, hit] = code(anchors[hit], truth.boxes[matches[hit]], (1, 1, 1, 1))
    count = per_picture * len(truths)
    objectness = cross_entropy(logits, wanted, wanted != UNUSED, count)
    return objectness, absolute(deltas, codes, (wanted == 1)[..., None], count)


def anchor_labels(anchors: Array, truth: Truth) -> tuple[Whole, Whole]:
    """(N,) 1, 0 or UNUSED, and each one's object."""
    overlap = overlaps(anchors, truth.boxes)
    best, matches = highest(overlap)
    away_from(best, 0.3, 0.7)
    labels = np.where(best >= 0.7, 1, np.where(best < 0.3, 0, UNUSED))
    for column in overlap.T:
        if column.max() > 0:
            labels[column >= column.max() - 1e-12] = 1
    labels[(labels == 0) & crowded(anchors, truth)] = UNUSED
    return labels, matches


def roi_labels(rois: Array, truth: Truth, background: int) -> tuple[Whole, Whole]:
    """(K,) class, the background or UNUSED, and each one's object."""
    best, matches = highest(overlaps(rois, truth.boxes))
    away_from(best, 0.5)
    labels = np.full(len(rois), background)
    labels[best >= 0.5] = truth.labels[matches[best >= 0.5]]
    labels[(labels == background) & crowded(rois, truth)] = UNUSED
    return labels, matches


def class_term(logits: Array, labels: Whole) -> Term:
    """Softmax cross entropy of logits (K, C + 1), mean over the RoIs that are used."""
    used = labels != UNUSED
    shifted = logits - logits.max(axis=1, keepdims=True)
    shares = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    rows = np.flatnonzero(used)
    value = -np.log(shares[rows, labels[rows]]).sum()
    gradient = np.where(used[:, None], shares, 0)
    gradient[rows, labels[rows]] -= 1
    return Term(value / max(len(rows), 1), gradient / max(len(rows), 1))


def box_term(deltas: Array, rois: Array, boxes: Array, labels: Whole) -> Term:
    """L1 of deltas (K, C, 4) of weights 10, 10, 5, 5, of the true class, over all used RoIs.

    Args:
        rois, boxes: (K, 4) each, of the positives the RoI and its object.
    """
    positive = (labels != UNUSED) & (labels < deltas.shape[1])
    rows = np.flatnonzero(positive)
    wanted, taken = np.zeros(deltas.shape), np.zeros(deltas.shape, bool)
    wanted[rows, labels[rows]] = code(rois[rows], boxes[rows], (10, 10, 5, 5))
    taken[rows, labels[rows]] = True
    return absolute(deltas, wanted, taken, max(int((labels != UNUSED).sum()), 1))


def mask_term(logits: Array, masks: Array) -> Term:
    """Binary cross entropy of the true classes' logits (P, m, m), mean over all their cells."""
    return cross_entropy(logits, masks, np.ones(masks.shape, bool), max(masks.size, 1))


def cut_out(mask: Array, roi: Array, side: int) -> Array:
    """(side, side) 0 or 1: what the mask is at each cell's centre, its rim repeated outwards."""
    steps = (np.arange(side) + 0.5) / side
    x = roi[0] + steps * (roi[2] - roi[0]) - 0.5
    y = roi[1] + steps * (roi[3] - roi[1]) - 0.5
    shares = hats(y, mask.shape[0]) @ mask @ hats(x, mask.shape[1]).T
    away_from(shares, 0.5)
    return (shares >= 0.5).astype(float)


def hats(at: Array, length: int) -> Array:
    """(samples, length) bilinear weights of pixels 0 .. length - 1."""
    at = np.clip(at, 0, length - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(length)), 0)


def cross_entropy(logits: Array, wanted: Array, used: NDArray[np.bool_], count: int) -> Term:
    """Binary, summed where used, over `count`: log(1 + e^x) - x y, gradient p - y."""
    each = np.logaddexp(0, logits) - logits * wanted
    slope = 1 / (1 + np.exp(-logits)) - wanted
    return Term(each[used].sum() / count, np.where(used, slope, 0) / count)


def absolute(found: Array, wanted: Array, used: NDArray[np.bool_], count: int) -> Term:
    """Smooth L1 of beta 0, summed where used, over `count`."""
    away = np.where(used, found - wanted, 0)
    return Term(np.abs(away).sum() / count, np.sign(away) / count)


def code(boxes: Array, targets: Array, weights: tuple[int, ...]) -> Array:
    """(K, 4): shifts of centres in sides of the box, logarithms of the sides' ratios, weighted."""
    sides, longer = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    shift = (targets[:, :2] + longer / 2 - boxes[:, :2] - sides / 2) / sides
    return np.concatenate((shift, np.log(longer / sides)), axis=1) * weights


def overlaps(boxes: Array, others: Array) -> Array:
    """(N, G) intersection over union."""
    shared = common(boxes, others)
    return shared / (area(boxes)[:, None] + area(others) - shared)


def common(boxes: Array, others: Array) -> Array:
    """(N, G) areas of intersections."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2)


def area(boxes: Array) -> Array:
    """(N,)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def crowded(boxes: Array, truth: Truth) -> NDArray[np.bool_]:
    """(N,) whether more than half of a box is in one crowd."""
    shares = common(boxes, truth.crowds) / area(boxes)[:, None]
    away_from(shares, 0.5)
    return (shares > 0.5).any(axis=1)


def highest(overlap: Array) -> tuple[Array, Whole]:
    """(N, G) -> the best overlap and whose it is; 0 where there is no object."""
    if not overlap.shape[1]:
        return np.zeros(len(overlap)), np.zeros(len(overlap), int)
    return overlap.max(axis=1), overlap.argmax(axis=1)


def away_from(values: Array, *thresholds: float) -> None:
    """Say so where rounding would decide, and not the losses."""
    for threshold in thresholds:
        near = values[np.abs(values - threshold) < MARGIN]
        assert not len(near), f"{near}: choose pictures whose values are away from {threshold}"
