"""From a box branch to detections in fixed slots, whatever pooled its RoIs.

Letters: B images, K proposals (slots), C classes, M candidates, D detections (slots).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..networks.boxes import BOX_WEIGHTS, clip, decode
from ..networks.nms import NEVER, fixpoint_nms
from ..networks.top_k import top_k
from ..recipes.mask_rcnn import DetectionConfig


def best_detections(
    config: DetectionConfig,
    rois: Tensor,
    real: Tensor,
    logits: Tensor,
    deltas: Tensor,
    image_sizes: Tensor,
    min_size_px: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Box branch outputs -> the best detections.

    Args:
        config: thresholds and slots.
        rois: (B, K, 4) proposals.
        real: (B, K) bool, which slots hold one.
        logits: (B, K, C + 1), background last.
        deltas: (B, K, C, 4).
        image_sizes: (B, 2) valid (height, width).
        min_size_px: both sides of a detection are longer.

    Returns:
        boxes (B, D, 4), scores (B, D), labels (B, D) int64, found (B, D) bool; zero where not.
    """
    classes = deltas.shape[2]
    scores = logits.softmax(dim=2)[..., :classes] * real[..., None]
    scores, index = top_k(scores.flatten(1), config.candidates)  # (B, M)
    labels = index % classes
    boxes = decode(pick(rois, index // classes), pick(deltas.flatten(1, 2), index), BOX_WEIGHTS)
    boxes = clip(boxes, image_sizes)
    valid = (scores > config.score_threshold) & larger_than(boxes, min_size_px)
    keep = fixpoint_nms(boxes, valid, config.nms_iou, labels)
    packed = torch.cat((boxes, scores[..., None], labels[..., None].float()), dim=2)
    packed, found = first_kept(keep, config.per_image, packed)
    return packed[..., :4], packed[..., 4], packed[..., 5].long(), found


def pick(values: Tensor, index: Tensor) -> Tensor:
    """(B, N, F) rows at (B, K) -> (B, K, F)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def larger_than(boxes: Tensor, size_px: float) -> Tensor:
    """(...) bool, which of boxes (..., 4) are wider and higher; of 0 px, which are not empty."""
    if size_px == 0:
        return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    sides = boxes[..., 2:] - boxes[..., :2]
    return (sides[..., 0] > size_px) & (sides[..., 1] > size_px)


def first_kept(keep: Tensor, slots: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The first `slots` kept rows of (B, K, F), zeros after them; (B, slots) which are real.

    Ranks are unique, so the choice does not depend on how a runtime's TopK breaks ties.
    """
    if slots > keep.shape[1]:  # a small canvas has fewer candidates than the contract has slots
        missing = slots - keep.shape[1]
        keep, rows = F.pad(keep, (0, missing)), F.pad(rows, (0, 0, 0, missing))
    rank = torch.arange(keep.shape[1], device=keep.device, dtype=torch.float32)
    key, index = top_k(torch.where(keep, -rank, NEVER), slots)
    real = key > NEVER / 2
    return pick(rows, index) * real[..., None], real
