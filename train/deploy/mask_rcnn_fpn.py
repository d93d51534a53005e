"""The deploy form of Mask R-CNN on a pyramid: uint8 canvases in, finished instances out.

    images -> normalize -> P2 .. P6 -> RPN -> each level's best anchors -> NMS within levels
           -> the best K of all: proposals
           -> RoIAlign -> box head -> best (RoI, class) pairs -> NMS -> D detections
           -> RoIAlign -> mask head -> each detection's mask

Exactly the graph that export writes, every shape fixed. Pictures end at multiples of 32 px, as both
libraries pad them: what lies between a picture and that edge is zeros that every layer sees and
that anchors are centred on; beyond it is nothing. Source: Detectron2
modeling/proposal_generator/proposal_utils.py at 02b5c4e2; torchvision 0.29
models/detection/{rpn,roi_heads,anchor_utils}.py.

Letters: B images, L levels, N anchors of a level, M the best of them (slots), K proposals (slots),
D detections (slots), m mask side.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.boxes import RPN_WEIGHTS, clip, decode
from ..networks.layers import fold
from ..networks.nms import NEVER, fixpoint_nms
from ..networks.picture_edge import edge_repeated, inside_of, masked
from ..networks.pyramid.fpn import PADDING_PX, POOLED, STRIDES
from ..networks.pyramid.mask_rcnn_fpn import MaskRCNNFPN
from ..networks.pyramid.roi_align import box_levels, pyramid_roi_align_operator
from ..networks.top_k import top_k
from ..recipes.mask_rcnn_fpn import PyramidDetectionConfig, PyramidProposalConfig
from .detections import best_detections, larger_than, pick
from .narrow_boxes import moved_inside, shares_inside, strides_of
from .overflow import carry_overflow


class DeployMaskRCNNFPN(nn.Module):
    """A copy of a network with norms folded, fixed slots, nothing data-dependent."""

    def __init__(
        self,
        model: MaskRCNNFPN,
        canvas_hw: tuple[int, int],
        proposals: PyramidProposalConfig,
        detections: PyramidDetectionConfig,
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        fold(self.model)
        self.canvas_hw, self.proposals, self.detections = canvas_hw, proposals, detections
        self.borders = model.borders()
        self.map_hws = [(-(-canvas_hw[0] // s), -(-canvas_hw[1] // s)) for s in STRIDES]
        for number, anchors in enumerate(model.anchors(self.map_hws)):
            self.register_buffer(f"anchors{number}", anchors, persistent=False)

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """Run the whole network.

        Args:
            images: (B, H, W, 3) uint8 RGB canvases, pictures at the top left.
            image_sizes: (B, 2) int32 valid (height, width).

        Returns:
            boxes (B, D, 4) float32 xyxy canvas px, scores (B, D), labels (B, D) int32, masks
            (B, D, m, m) probabilities in each box's frame, counts (B,) int32; zero past the count.
            No masks where the network has no mask branch. Where FP16 overflowed before a score, no
            score of that picture is finite.
        """
        inside = inside_of(padded(image_sizes), self.canvas_hw)
        maps = self.model.features(self.model.normalize(images, image_sizes), inside)
        cells = [inside[:, :, ::stride, ::stride] for stride in STRIDES]
        maps = [masked(x, here) for x, here in zip(maps, cells, strict=True)]
        found = [self.model.rpn(x, here) for x, here in zip(maps, cells, strict=True)]
        pooled = [edge_repeated(x, here) for x, here in zip(maps[:POOLED], cells, strict=False)]
        return self.instances(pooled, found, image_sizes)

    def instances(
        self, maps: list[Tensor], found: list[tuple[Tensor, Tensor]], image_sizes: Tensor
    ) -> tuple[Tensor, ...]:
        """P2 .. P5 and the RPN's (B, N) and (B, N, 4) of P2 .. P6 -> see `forward`."""
        rois, real = self.propose(found, image_sizes)
        config, slots = self.model.recipe.model, rois.shape[:2]
        pooled = self.model.box_head(self.pool(maps, rois, image_sizes, config.box_cells))
        logits, deltas = (x.unflatten(0, slots) for x in self.model.box_predictor(pooled))
        boxes, scores, labels, kept = best_detections(
            *(self.detections, rois, real, logits, deltas, image_sizes),
            min_size_px=self.detections.min_size_px,
        )
        scores = carry_overflow(scores, *(x for level in found for x in level), logits)
        counts = kept.sum(dim=1).to(torch.int32)
        if self.model.mask_head is None:
            return boxes, scores, labels.to(torch.int32), counts
        mask_logits = self.model.mask_head(
            self.pool(maps, boxes, image_sizes, config.mask_cells), labels.flatten()
        )
        masks = mask_logits.sigmoid().unflatten(0, boxes.shape[:2]) * kept[..., None, None]
        return boxes, scores, labels.to(torch.int32), masks, counts

    def pool(self, maps: list[Tensor], rois: Tensor, image_sizes: Tensor, cells: int) -> Tensor:
        """`MaskRCNNFPN.pool` as the custom operator, of maps that end with the pictures."""
        config, strides = self.model.recipe.model, STRIDES[:POOLED]

        def operator(boxes: Tensor) -> Tensor:
            return pyramid_roi_align_operator(
                *(maps, boxes, cells, strides, config.sampling_ratio, self.borders),
                aligned=config.roi_aligned,
            )

        if config.roi_aligned:
            return operator(rois)
        stride = strides_of(box_levels(rois, self.borders), strides)
        inside, beyond = moved_inside(rois, stride, padded(image_sizes))
        share = shares_inside(beyond, cells, config.sampling_ratio)
        return operator(inside) * share.to(maps[0].dtype)

    def propose(
        self, found: list[tuple[Tensor, Tensor]], image_sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """RPN outputs of the levels -> proposals (B, K, 4) and which slots are real (B, K).

        Levels are rows of a batch for NMS, each padded to as many slots as the largest fills.
        """
        levels = [self._best(number, *outputs, image_sizes) for number, outputs in enumerate(found)]
        most = max(scores.shape[1] for scores, _ in levels)
        scores = torch.stack([_padded(s[..., None], most)[..., 0] for s, _ in levels], dim=1)
        boxes = torch.stack([_padded(b, most) for _, b in levels], dim=1)  # (B, L, M, 4)
        valid = larger_than(boxes, self.proposals.min_size_px) & (scores > NEVER / 2)
        keep = fixpoint_nms(boxes.flatten(0, 1), valid.flatten(0, 1), self.proposals.nms_iou)
        scores = torch.where(keep.unflatten(0, valid.shape[:2]), scores, NEVER).flatten(1)
        best, index = top_k(scores, self.proposals.post_nms_test)
        real = best > NEVER / 2
        return pick(boxes.flatten(1, 2), index) * real[..., None], real

    def _best(
        self, number: int, logits: Tensor, deltas: Tensor, image_sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One level's RPN outputs -> the scores (B, M) and boxes (B, M, 4) of its best anchors.

        Anchors of cells outside the padded picture are never chosen; boxes are clipped to the
        picture.
        """
        stride, map_hw, edge = STRIDES[number], self.map_hws[number], padded(image_sizes)
        inside = inside_of((edge / stride).ceil(), map_hw)[:, 0].flatten(1)  # (B, cells)
        per_cell = logits.unflatten(1, (inside.shape[1], -1))
        per_cell = torch.where(inside[..., None] > 0, per_cell, NEVER)
        scores, index = top_k(per_cell.flatten(1), self.proposals.pre_nms_test)
        anchors = self.get_buffer(f"anchors{number}")[index]  # (B, M, 4)
        if self.model.recipe.model.anchor_steps == "picture" and stride > PADDING_PX:
            y_x = (edge / (edge / stride).ceil()).floor() - stride  # (B, 2), what cells move by
            cell = index // per_cell.shape[2]
            cells = torch.stack((cell % map_hw[1], cell // map_hw[1]), dim=2)
            anchors = anchors + (cells * y_x[:, None, [1, 0]]).repeat(1, 1, 2)
        return scores, clip(decode(anchors, pick(deltas, index), RPN_WEIGHTS), image_sizes)


def padded(image_sizes: Tensor) -> Tensor:
    """(B, 2) px -> (B, 2) float, up to multiples of 32."""
    return (image_sizes.float() / PADDING_PX).ceil() * PADDING_PX


def _padded(rows: Tensor, count: int) -> Tensor:
    """(B, M, F) -> (B, count, F), what is new NEVER a score and no box."""
    return F.pad(rows, (0, 0, 0, count - rows.shape[1]), value=NEVER)
