"""Mask R-CNN C4 and its large-separable-convolution speed-up, as one configurable network.

    images -> normalize -> ResNet C4 -> [separable] -> features -> RPN -> proposals
                                                       |            |
        +----------------------------------------------+            |
        +-- RoIAlign at the proposals <-----------------------------+ -> subnet -> detections
        +-- RoIAlign at the detections -> subnet -> masks

`MaskRCNN` holds the layers and is what training uses (losses live in `losses.py`).
`DeployMaskRCNN` is its deploy form: uint8 canvases in, finished instances out, every shape fixed,
exactly the graph that export writes. Sources: Detectron2 mask_rcnn_R_50_C4 at 02b5c4e2, the LSC
paper.

Letters: B images, N anchors, K proposals (slots), C classes, D detections (slots), m mask side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes.mask_rcnn import DetectionConfig, MaskRCNNConfig, MaskRCNNRecipe, ProposalConfig
from .boxes import anchors_for, clip, decode
from .heads import RPN, BoxPredictor, C5Subnet, LargeSeparableConv, LightSubnet, MaskHead
from .layers import Norm, fold_norms
from .nms import NEVER, fixpoint_nms
from .normalize import Normalize
from .resnet import ResNetC4
from .roi_align import roi_align, roi_align_operator
from .top_k import top_k

STRIDE = 16
RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class MaskRCNN(nn.Module):
    """The layers, in training form."""

    def __init__(self, recipe: MaskRCNNRecipe) -> None:
        super().__init__()
        config: MaskRCNNConfig = recipe.model
        self.recipe = recipe
        classes = len(recipe.class_names)
        self.backbone = ResNetC4(
            config.stem_channels,
            config.backbone_channels,
            config.blocks,
            stride_in_1x1=config.stride_in_1x1,
            norm=config.norm,
            freeze_at=config.freeze_at,
        )
        head_norm: Norm | None = "batch" if config.head_norm else None
        width = 4 * config.backbone_channels
        self.separable: LargeSeparableConv | None = None
        if config.separable_channels:
            self.separable = LargeSeparableConv(
                width, config.separable_channels, config.separable_kernel, head_norm
            )
            width = config.separable_channels
        anchors_per_cell = len(config.anchor_sizes_px) * len(config.anchor_ratios)
        self.rpn = RPN(width, anchors_per_cell, head_norm)
        self.subnet = (C5Subnet if config.subnet == "c5" else LightSubnet)(config, width)
        self.box_predictor = BoxPredictor(self.subnet.box_features, classes)
        self.mask_head = MaskHead(self.subnet.channels, config.mask_channels, classes)
        self.normalize = Normalize(recipe.input)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 16, W / 16), the map that RPN and RoIAlign share."""
        x = self.backbone(x)
        return x if self.separable is None else self.separable(x)

    def anchors(self, map_hw: tuple[int, int]) -> Tensor:
        """(H * W * A, 4) anchors of a feature map."""
        config = self.recipe.model
        return anchors_for(map_hw, STRIDE, config.anchor_sizes_px, config.anchor_ratios)

    def pool(self, features: Tensor, rois: Tensor) -> Tensor:
        """(B, C, h, w) and (B, K, 4) -> (B * K, C, P, P), differentiable."""
        config = self.recipe.model
        return roi_align(features, rois, config.roi_size, 1 / STRIDE, config.sampling_ratio)


class DeployMaskRCNN(nn.Module):
    """The deploy form: norms folded, fixed slots, nothing data-dependent.

    The model's norms are folded in place: pass a copy when it is to be trained on.
    """

    anchors: Tensor

    def __init__(self, model: MaskRCNN, canvas_hw: tuple[int, int]) -> None:
        super().__init__()
        self.model = model.eval()
        fold_norms(model)
        self.proposals: ProposalConfig = model.recipe.proposals
        self.detections: DetectionConfig = model.recipe.detections
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
        """
        features = self.model.features(self.model.normalize(images, image_sizes))
        objectness, shifts = self.model.rpn(features)
        rois, real = self.propose(objectness, shifts, image_sizes)
        pooled = self.model.subnet.pooled(self.model.subnet(self.pool(features, rois)))
        logits, deltas = self.model.box_predictor(pooled)
        slots = rois.shape[:2]
        boxes, scores, labels, found = self.detect(
            rois, real, logits.unflatten(0, slots), deltas.unflatten(0, slots), image_sizes
        )
        masks = self.masks(features, boxes, labels) * found[..., None, None]
        counts = found.sum(dim=1).to(torch.int32)
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
        boxes = decode(self.anchors[index], _pick(deltas, index), RPN_WEIGHTS)
        boxes = clip(boxes, image_sizes)
        valid = _not_empty(boxes) & (scores > NEVER / 2)
        keep = fixpoint_nms(boxes, valid, self.proposals.nms_iou)
        return _first_kept(keep, min(self.proposals.post_nms_test, boxes.shape[1]), boxes)

    def _anchor_centers(self) -> tuple[Tensor, Tensor]:
        """(N,) y and x of the anchors' cells in canvas px."""
        centers = (self.anchors[:, :2] + self.anchors[:, 2:]) / 2
        return centers[:, 1], centers[:, 0]

    def detect(
        self, rois: Tensor, real: Tensor, logits: Tensor, deltas: Tensor, image_sizes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Box branch outputs -> the best detections.

        Args:
            rois: (B, K, 4) proposals.
            real: (B, K) bool, which slots hold one.
            logits: (B, K, C + 1), background last.
            deltas: (B, K, C, 4).
            image_sizes: (B, 2) valid (height, width).

        Returns:
            boxes (B, D, 4), scores (B, D), labels (B, D) int64, found (B, D) bool; zero where not.
        """
        config = self.detections
        classes = deltas.shape[2]
        scores = logits.softmax(dim=2)[..., :classes] * real[..., None]
        scores, index = top_k(scores.flatten(1), config.candidates)  # (B, M)
        labels = index % classes
        boxes = decode(
            _pick(rois, index // classes), _pick(deltas.flatten(1, 2), index), BOX_WEIGHTS
        )
        boxes = clip(boxes, image_sizes)
        valid = (scores > config.score_threshold) & _not_empty(boxes)
        keep = fixpoint_nms(boxes, valid, config.nms_iou, labels)
        packed = torch.cat((boxes, scores[..., None], labels[..., None].float()), dim=2)
        packed, found = _first_kept(keep, config.per_image, packed)
        return packed[..., :4], packed[..., 4], packed[..., 5].long(), found

    def masks(self, features: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """(B, C, h, w), boxes (B, D, 4), labels (B, D) -> (B, D, m, m) probabilities."""
        x = self.model.subnet(self.pool(features, boxes))
        logits = self.model.mask_head(x, labels.flatten())
        return logits.sigmoid().unflatten(0, boxes.shape[:2])


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """(B, N, 4) rows at (B, K) -> (B, K, 4)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def _not_empty(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])


def _first_kept(keep: Tensor, slots: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The first `slots` kept rows of (B, K, F), zeros after them; (B, slots) which are real.

    Ranks are unique, so the choice does not depend on how a runtime's TopK breaks ties.
    """
    if slots > keep.shape[1]:  # a small canvas has fewer candidates than the contract has slots
        missing = slots - keep.shape[1]
        keep, rows = F.pad(keep, (0, missing)), F.pad(rows, (0, 0, 0, missing))
    rank = torch.arange(keep.shape[1], device=keep.device, dtype=torch.float32)
    key, index = top_k(torch.where(keep, -rank, NEVER), slots)
    real = key > NEVER / 2
    return _pick(rows, index) * real[..., None], real
