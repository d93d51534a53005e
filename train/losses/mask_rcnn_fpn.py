"""Losses of Mask R-CNN on a feature pyramid: `mask_rcnn.py`'s, with anchors of all levels as one.

The proposals of training are the best of each level, NMS within levels, the best of all. Source:
Detectron2 modeling/proposal_generator/proposal_utils.py at 02b5c4e2. torchvision's box terms are
smooth L1 (RPN: beta 1 / 9) and its post_nms_train is 2000; networks are not trained so here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.target import Target
from ..networks.boxes import RPN_WEIGHTS, clip, decode
from ..networks.nms import NEVER, greedy_nms
from ..networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from ..recipes.mask_rcnn_fpn import PyramidProposalConfig
from .mask_rcnn import (
    IGNORE,
    SampledRois,
    box_losses,
    mask_loss,
    positives,
    rpn_losses,
    sample_rois,
)


def mask_rcnn_fpn_losses(
    model: MaskRCNNFPN,
    images: Tensor,
    image_sizes: Tensor,
    targets: list[Target],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Five terms, four without masks; arguments as `terms.loss_terms`."""
    maps = [m.float() for m in model.features(model.normalize(images, image_sizes))]
    logits, deltas = zip(*(model.rpn(level) for level in maps), strict=True)
    anchors = [
        level.to(images.device) for level in model.anchors([(m.shape[2], m.shape[3]) for m in maps])
    ]
    config = model.recipe.proposals
    terms = rpn_losses(
        *(torch.cat(logits, dim=1), torch.cat(deltas, dim=1), torch.cat(anchors)),
        *(targets, config, generator),
    )
    with torch.no_grad():
        proposals = _proposals(logits, deltas, anchors, image_sizes, config)
        classes = len(model.recipe.class_names)
        sampled = [
            sample_rois(p, t, classes, model.recipe.detections, generator)
            for p, t in zip(proposals, targets, strict=True)
        ]
    return terms | _roi_losses(model, maps, sampled, targets)


def _roi_losses(
    model: MaskRCNNFPN, maps: list[Tensor], sampled: list[SampledRois], targets: list[Target]
) -> dict[str, Tensor]:
    """Class, box and, where there is a mask branch, mask terms."""
    boxes = torch.stack([s.boxes for s in sampled])  # (B, K, 4)
    cells = model.recipe.model.box_cells
    logits, deltas = model.box_predictor(model.box_head(model.pool(maps, boxes, cells)))
    terms = box_losses(logits, deltas, sampled, targets)
    if model.mask_head is None:
        return terms
    background = logits.shape[1] - 1
    _, labels = positives(sampled, background)
    first, chosen = _first_positives(sampled, background)
    pooled = model.pool(maps, first, model.recipe.model.mask_cells)[chosen]
    return terms | mask_loss(model.mask_head(pooled, labels), sampled, targets, background)


def _first_positives(sampled: list[SampledRois], background: int) -> tuple[Tensor, Tensor]:
    """RoIs (B, M, 4) of which M are the most positives of an image, and their (P,) places.

    Each image's positives come before its other RoIs (`sample_rois`).
    """
    real = [(s.labels != IGNORE) & (s.labels != background) for s in sampled]
    most = max(int(r.sum()) for r in real)
    first = torch.stack([s.boxes[:most] for s in sampled])
    return first, torch.cat([r[:most] for r in real]).nonzero()[:, 0]


def _proposals(
    logits: tuple[Tensor, ...],
    deltas: tuple[Tensor, ...],
    anchors: list[Tensor],
    image_sizes: Tensor,
    config: PyramidProposalConfig,
) -> list[Tensor]:
    """Per image, the RPN's proposals (at most post_nms_train, 4) for training."""
    levels = []
    for scores, shifts, boxes in zip(logits, deltas, anchors, strict=True):
        best, index = scores.topk(min(config.pre_nms_train, scores.shape[1]), dim=1)
        moved = decode(boxes[index], shifts.gather(1, _as_rows(index)), RPN_WEIGHTS)
        levels.append((best, clip(moved, image_sizes)))
    return _best_of_levels(*_stacked(levels), config)


def _stacked(levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Scores (B, M) and boxes (B, M, 4) a level -> (B, L, M) and (B, L, M, 4), M the longest's.

    What is new is no box and has NEVER as its score.
    """
    most = max(scores.shape[1] for scores, _ in levels)
    short = [most - scores.shape[1] for scores, _ in levels]
    scores = [F.pad(s, (0, n), value=NEVER) for (s, _), n in zip(levels, short, strict=True)]
    boxes = [F.pad(b, (0, 0, 0, n)) for (_, b), n in zip(levels, short, strict=True)]
    return torch.stack(scores, dim=1), torch.stack(boxes, dim=1)


def _best_of_levels(scores: Tensor, boxes: Tensor, config: PyramidProposalConfig) -> list[Tensor]:
    """Scores (B, L, M) and boxes (B, L, M, 4) -> the best of each image, (at most K, 4).

    Levels are rows of the NMS, so that none suppresses another's.
    """
    real = (boxes[..., 2:] - boxes[..., :2] > config.min_size_px).all(dim=-1)
    kept = greedy_nms(boxes.flatten(0, 1), real.flatten(0, 1), config.nms_iou)
    scores = torch.where(kept.unflatten(0, real.shape[:2]), scores, NEVER).flatten(1)
    best, index = scores.topk(min(config.post_nms_train, scores.shape[1]), dim=1)
    rows = boxes.flatten(1, 2).gather(1, _as_rows(index))
    return [image[score > NEVER / 2] for image, score in zip(rows, best, strict=True)]


def _as_rows(index: Tensor) -> Tensor:
    """(B, K) -> (B, K, 4), to gather boxes by."""
    return index[..., None].expand(-1, -1, 4)
