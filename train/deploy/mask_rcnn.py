"""Mask R-CNN's deploy form: uint8 canvases in, finished instances out, every shape fixed.

    images -> normalize -> features -> RPN -> best anchors -> NMS -> K proposals
           -> RoIAlign -> subnet -> best (RoI, class) pairs -> NMS -> D detections
           -> RoIAlign -> subnet -> each detection's mask

Exactly the graph that export writes. Sources: Detectron2 mask_rcnn_R_50_C4 at 02b5c4e2, the LSC
paper.

Letters: B images, N anchors, K proposals (slots), C classes, D detections (slots), m mask side.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..networks.boxes import RPN_WEIGHTS, clip, decode
from ..networks.layers import fold
from ..networks.mask_rcnn import STRIDE, MaskRCNN
from ..networks.nms import NEVER, fixpoint_nms
from ..networks.picture_edge import edge_repeated, inside_of, masked
from ..networks.roi_align import roi_align_operator
from ..networks.top_k import top_k
from ..recipes.mask_rcnn import DetectionConfig, ProposalConfig
from .detections import best_detections, first_kept, larger_than, pick
from .overflow import carry_overflow


class DeployMaskRCNN(nn.Module):
    """A copy of a network with norms folded, fixed slots, nothing data-dependent."""

    anchors: Tensor

    def __init__(
        self,
        model: MaskRCNN,
        canvas_hw: tuple[int, int],
        proposals: ProposalConfig,
        detections: DetectionConfig,
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        fold(self.model)
        self.canvas_hw, self.proposals, self.detections = canvas_hw, proposals, detections
        map_hw = (-(-canvas_hw[0] // STRIDE), -(-canvas_hw[1] // STRIDE))
        self.register_buffer("anchors", model.anchors(map_hw), persistent=False)

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """Run the whole network.

        Args:
            images: (B, H, W, 3) uint8 RGB canvases, pictures at the top left.
            image_sizes: (B, 2) int32 valid (height, width).

        Returns:
            boxes (B, D, 4) float32 xyxy canvas px, scores (B, D), labels (B, D) int32, masks
            (B, D, m, m) probabilities in each box's frame, counts (B,) int32; zero past the count.
            No masks where the network has no mask branch.
            Where FP16 overflowed before a score, no score of that picture is finite.
        """
        inside = inside_of(image_sizes, self.canvas_hw)
        cells = inside[:, :, ::STRIDE, ::STRIDE]
        features = self.model.features(self.model.normalize(images, image_sizes), inside)
        features = masked(features, cells)
        objectness, shifts = self.model.rpn(features, cells)
        return self.instances(edge_repeated(features, cells), objectness, shifts, image_sizes)

    def instances(
        self, features: Tensor, objectness: Tensor, shifts: Tensor, image_sizes: Tensor
    ) -> tuple[Tensor, ...]:
        """Features (B, C, h, w) and RPN outputs (B, N) and (B, N, 4) -> see `forward`."""
        rois, real = self.propose(objectness, shifts, image_sizes)
        pooled = self.model.subnet.pooled(self.model.subnet(self.pool(features, rois)))
        logits, deltas = self.model.box_predictor(pooled)
        slots = rois.shape[:2]
        logits, deltas = logits.unflatten(0, slots), deltas.unflatten(0, slots)
        boxes, scores, labels, found = best_detections(
            self.detections, rois, real, logits, deltas, image_sizes
        )
        scores = carry_overflow(scores, objectness, shifts, logits)
        counts = found.sum(dim=1).to(torch.int32)
        if self.model.mask_head is None:
            return boxes, scores, labels.to(torch.int32), counts
        masks = self.masks(features, boxes, labels) * found[..., None, None]
        return boxes, scores, labels.to(torch.int32), masks, counts

    def pool(self, features: Tensor, rois: Tensor) -> Tensor:
        """`MaskRCNN.pool` as the custom operator."""
        config = self.model.recipe.model
        pooled: Tensor = roi_align_operator(
            features, rois, config.roi_size, 1 / STRIDE, config.sampling_ratio
        )
        return pooled

    def propose(self, logits: Tensor, deltas: Tensor, image_sizes: Tensor) -> tuple[Tensor, Tensor]:
        """RPN outputs (B, N) and (B, N, 4) -> proposals (B, K, 4) and which slots are real (B, K).

        Anchors centred outside the valid region are never chosen; boxes are clipped to it.
        """
        at_y, at_x = self._anchor_centers()
        sizes = image_sizes.float()
        inside = (at_y[None] < sizes[:, :1]) & (at_x[None] < sizes[:, 1:])  # (B, N)
        logits = torch.where(inside, logits, NEVER)
        scores, index = top_k(logits, self.proposals.pre_nms_test)  # (B, M)
        boxes = decode(self.anchors[index], pick(deltas, index), RPN_WEIGHTS)
        boxes = clip(boxes, image_sizes)
        valid = larger_than(boxes, 0.0) & (scores > NEVER / 2)
        keep = fixpoint_nms(boxes, valid, self.proposals.nms_iou)
        return first_kept(keep, min(self.proposals.post_nms_test, boxes.shape[1]), boxes)

    def _anchor_centers(self) -> tuple[Tensor, Tensor]:
        """(N,) y and x of the anchors' cells in canvas px."""
        centers = (self.anchors[:, :2] + self.anchors[:, 2:]) / 2
        return centers[:, 1], centers[:, 0]

    def masks(self, features: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """(B, C, h, w), boxes (B, D, 4), labels (B, D) -> (B, D, m, m) probabilities."""
        assert self.model.mask_head is not None, "asked for where there is one"
        x = self.model.subnet(self.pool(features, boxes))
        logits = self.model.mask_head(x, labels.flatten())
        return logits.sigmoid().unflatten(0, boxes.shape[:2])
