"""Losses of Mask R-CNN: which anchors and RoIs are sampled, their targets, and the five terms.

Source: Detectron2 modeling/{proposal_generator/rpn,roi_heads/roi_heads,fast_rcnn,mask_head}.py and
sampling.py at 02b5c4e2. RPN: binary cross entropy and L1, both over (anchors per image * images).
Boxes: cross entropy mean over sampled RoIs, L1 over their number. Masks: binary cross entropy mean
over the positives' cells. All are of the whole batch, which processes may share (`counts`);
Detectron2's means are of each process by itself. Crowd boxes are never targets; anchors and RoIs
mostly inside one are not negatives.

Letters: B images, N anchors, K sampled RoIs per image, G ground-truth objects, m mask side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.target import Target
from ..networks.boxes import (
    BOX_WEIGHTS,
    RPN_WEIGHTS,
    areas,
    clip,
    decode,
    encode,
    intersections,
    pairwise_iou,
)
from ..networks.mask_rcnn import MaskRCNN
from ..networks.nms import greedy_nms
from ..recipes.mask_rcnn import DetectionConfig, ProposalConfig
from .counts import shared_count
from .mask_targets import cut_masks
from .sampling import draw

IGNORE = -1
CROWD_OVERLAP = 0.5
"""Share of a box inside a crowd above which it is not used as a negative. Detectron1's rule, which
has 0.7 and proposals alone."""


@dataclass(frozen=True)
class SampledRois:
    """K RoIs of one image for the box and mask losses."""

    boxes: Tensor
    """(K, 4)."""
    labels: Tensor
    """(K,) class, C for background, IGNORE for padding."""
    matches: Tensor
    """(K,) index of the matched object; meaningless unless the label is a class."""


def mask_rcnn_losses(
    model: MaskRCNN,
    images: Tensor,
    image_sizes: Tensor,
    targets: list[Target],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Five terms, four without masks; arguments as `terms.loss_terms`."""
    features = model.features(model.normalize(images, image_sizes)).float()
    logits, deltas = model.rpn(features)
    anchors = model.anchors((features.shape[2], features.shape[3])).to(features.device)
    config = model.recipe.proposals
    terms = rpn_losses(logits, deltas, anchors, targets, config, generator)
    with torch.no_grad():
        proposals = _proposals(logits, deltas, anchors, image_sizes, config)
        sampled = [
            sample_rois(p, t, len(model.recipe.class_names), model.recipe.detections, generator)
            for p, t in zip(proposals, targets, strict=True)
        ]
    return terms | roi_losses(model, features, sampled, targets)


def rpn_losses(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    targets: list[Target],
    config: ProposalConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Objectness and anchor box terms of (B, N) logits and (B, N, 4) deltas."""
    objectness, regression = logits.new_zeros(()), logits.new_zeros(())
    for image, target in enumerate(targets):
        labels, matches = match_anchors(anchors, target, config)
        chosen = _sample(labels, config.batch_per_image, config.positive_fraction, 0, generator)
        positive = chosen[labels[chosen] == 1]
        objectness = objectness + F.binary_cross_entropy_with_logits(
            logits[image, chosen], labels[chosen].float(), reduction="sum"
        )
        wanted = encode(anchors[positive], target.boxes[matches[positive]], RPN_WEIGHTS)
        regression = regression + (deltas[image, positive] - wanted).abs().sum()
    scale = config.batch_per_image * len(targets)
    return {"rpn_objectness": objectness / scale, "rpn_box": regression / scale}


def match_anchors(anchors: Tensor, target: Target, config: ProposalConfig) -> tuple[Tensor, Tensor]:
    """(N,) labels 1 positive, 0 negative, IGNORE, and (N,) matched object.

    An object's best anchors are positive whatever their IoU, so that no object is left without one.
    """
    labels = torch.full((len(anchors),), 0, device=anchors.device)
    matches = torch.zeros_like(labels)
    if len(target.boxes):
        iou = pairwise_iou(target.boxes, anchors)  # (G, N)
        best, matches = iou.max(dim=0)
        labels[best >= config.negative_iou] = IGNORE
        labels[best >= config.positive_iou] = 1
        top = iou.max(dim=1, keepdim=True).values
        labels[((iou == top) & (top > 0)).any(dim=0)] = 1
    labels[(labels == 0) & _in_crowd(anchors, target.crowd_boxes)] = IGNORE
    return labels, matches


def sample_rois(
    proposals: Tensor,
    target: Target,
    classes: int,
    config: DetectionConfig,
    generator: torch.Generator,
) -> SampledRois:
    """Draw `batch_per_image` RoIs from the proposals and the ground truth itself."""
    boxes = torch.cat((proposals, target.boxes))
    labels = torch.full((len(boxes),), classes, device=boxes.device)
    matches = torch.zeros_like(labels)
    if len(target.boxes):
        best, matches = pairwise_iou(target.boxes, boxes).max(dim=0)
        labels = torch.where(best >= config.positive_iou, target.labels[matches], labels)
    labels[(labels == classes) & _in_crowd(boxes, target.crowd_boxes)] = IGNORE
    slots = config.batch_per_image
    chosen = _sample(labels, slots, config.positive_fraction, classes, generator)
    padding = slots - len(chosen)
    return SampledRois(
        F.pad(boxes[chosen], (0, 0, 0, padding)),
        F.pad(labels[chosen], (0, padding), value=IGNORE),
        F.pad(matches[chosen], (0, padding)),
    )


def roi_losses(
    model: MaskRCNN, features: Tensor, sampled: list[SampledRois], targets: list[Target]
) -> dict[str, Tensor]:
    """Class, box and, where there is a mask branch, mask terms."""
    boxes = torch.stack([s.boxes for s in sampled])  # (B, K, 4)
    x = model.subnet(model.pool(features, boxes))
    logits, deltas = model.box_predictor(model.subnet.pooled(x))
    terms = box_losses(logits, deltas, sampled, targets)
    if model.mask_head is None:
        return terms
    positive, labels = positives(sampled, logits.shape[1] - 1)
    mask_logits = model.mask_head(x[positive], labels)
    return terms | mask_loss(mask_logits, sampled, targets, logits.shape[1] - 1)


def box_losses(
    logits: Tensor, deltas: Tensor, sampled: list[SampledRois], targets: list[Target]
) -> dict[str, Tensor]:
    """Class and box terms of logits (B * K, C + 1), background last, and deltas (B * K, C, 4)."""
    labels = torch.cat([s.labels for s in sampled])  # (B*K,)
    used = shared_count(int((labels != IGNORE).sum()), labels.device)
    # not reduction="mean", which is NaN when a crowd leaves nothing to use
    confusion = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    wanted = [
        t.boxes[s.matches] if len(t.boxes) else torch.zeros_like(s.boxes)
        for s, t in zip(sampled, targets, strict=True)
    ]
    positive, classes = positives(sampled, logits.shape[1] - 1)
    chosen = torch.cat([s.boxes for s in sampled])[positive]
    codes = encode(chosen, torch.cat(wanted)[positive], BOX_WEIGHTS)
    moved = (deltas[positive, classes] - codes).abs().sum()
    return {"box_class": confusion / used, "box_delta": moved / used}


def mask_loss(
    mask_logits: Tensor, sampled: list[SampledRois], targets: list[Target], background: int
) -> dict[str, Tensor]:
    """The mask term of the positives' logits (P, m, m), in batch order."""
    masks = mask_targets(sampled, targets, mask_logits.shape[-1], background)
    total = F.binary_cross_entropy_with_logits(mask_logits, masks, reduction="sum")
    return {"mask": total / (shared_count(len(masks), masks.device) * mask_logits.shape[-1] ** 2)}


def positives(sampled: list[SampledRois], background: int) -> tuple[Tensor, Tensor]:
    """Places in the batch's (B * K) RoIs that hold an object, and their labels, (P,) each."""
    labels = torch.cat([s.labels for s in sampled])
    places = ((labels != IGNORE) & (labels != background)).nonzero()[:, 0]
    return places, labels[places]


def mask_targets(
    sampled: list[SampledRois], targets: list[Target], side: int, background: int
) -> Tensor:
    """(positives, m, m) float 0/1: each positive's object, cut out by its RoI, in batch order."""
    cut = []
    for rois, target in zip(sampled, targets, strict=True):
        positive = (rois.labels != IGNORE) & (rois.labels != background)
        boxes, objects = rois.boxes[positive], rois.matches[positive]
        cut.append(cut_masks(target.masks, objects, boxes, side, repeat_edge=True) >= 0.5)
    return torch.cat(cut).float()


def _proposals(
    logits: Tensor, deltas: Tensor, anchors: Tensor, image_sizes: Tensor, config: ProposalConfig
) -> list[Tensor]:
    """Per image, the RPN's proposals (at most post_nms_train, 4) for training."""
    index = logits.topk(min(config.pre_nms_train, logits.shape[1]), dim=1).indices
    picked = deltas.gather(1, index[..., None].expand(-1, -1, 4))
    boxes = clip(decode(anchors[index], picked, RPN_WEIGHTS), image_sizes)
    real = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    kept = greedy_nms(boxes, real, config.nms_iou)
    return [image[keep][: config.post_nms_train] for image, keep in zip(boxes, kept, strict=True)]


def _sample(
    labels: Tensor, count: int, fraction: float, background: int, generator: torch.Generator
) -> Tensor:
    """Random indices: at most `count * fraction` positives, the rest negatives."""
    positive = ((labels != background) & (labels != IGNORE)).nonzero()[:, 0]
    negative = (labels == background).nonzero()[:, 0]
    positive = draw(positive, int(count * fraction), generator)
    negative = draw(negative, count - len(positive), generator)
    return torch.cat((positive, negative))


def _in_crowd(boxes: Tensor, crowds: Tensor) -> Tensor:
    """(N,) bool: boxes of which more than CROWD_OVERLAP lies inside one crowd region."""
    if not len(crowds):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    inside = intersections(boxes, crowds) / areas(boxes)[:, None].clamp(min=1e-9)
    return (inside > CROWD_OVERLAP).any(dim=1)
