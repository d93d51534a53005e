"""FastMask's deploy form: uint8 canvases in, the best windows and their masks out.

    images -> normalize -> levels -> objectness of every window, densely -> the best K over all
           -> packed pyramid -> those windows cut out -> attention -> masks

Exactly the graph that export writes, for DeepMask* too.

Letters: B pictures, L levels, N cells and W windows of all levels, K slots, C reduced channels,
F score channels, m mask side.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.fastmask import FastMask, level_shapes, level_strides
from ..networks.layers import fold
from ..networks.nms import NEVER
from ..networks.picture_edge import inside_of
from ..networks.top_k import top_k
from ..networks.windows import (
    HALF,
    WINDOW,
    pack,
    smallest_picture,
    window_align_operator,
    window_boxes,
    window_count,
)
from .overflow import carry_overflow


class DeployFastMask(nn.Module):
    """A copy of a network with norms folded, every window scored densely, K windows decoded.

    A fully connected layer over every window is a 10 x 10 convolution over the map padded by 5
    cells. The windows' norm y = a x + t folds exactly although padding is inside the norm: `reduce`
    takes the factor a, which leaves padding zero, and t, the same in every cell, becomes part of
    the next layer's bias.
    """

    boxes: Tensor
    smallest: Tensor
    shift: Tensor

    def __init__(self, model: FastMask, canvas_hw: tuple[int, int], slots: int) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        config = model.recipe.model
        self.canvas_hw, self.strides = canvas_hw, config.test_strides
        self.shapes = level_shapes(config, canvas_hw, self.strides)
        self.slots = min(slots, window_count(self.shapes))
        steps = level_strides(config, canvas_hw, self.strides)
        self.register_buffer("boxes", window_boxes(self.shapes, steps), persistent=False)
        beyond = smallest_picture(self.boxes, one_beyond=config.compat == "original")
        self.register_buffer("smallest", beyond, persistent=False)
        fold(self.model)
        self._fold_window_norm()

    @torch.no_grad()
    def _fold_window_norm(self) -> None:
        model, head = self.model, self.model.head
        scale, shift = model.norm.trained()
        model.reduce.weight.mul_(scale[:, None, None, None])
        everywhere = shift.repeat(WINDOW**2)
        for layer in (head.score_1, head.attention):
            if layer is not None:
                layer.bias.add_(layer.weight @ everywhere)
        self.register_buffer("shift", shift.clone(), persistent=False)
        # Nothing but a factor and a shift stands between the two mask layers.
        head.mask_2.bias.add_(head.mask_2.weight @ head.mask_shift)
        head.mask_2.weight.mul_(head.gain * head.mask_scale)
        dense = head.score_1.weight.unflatten(1, (WINDOW, WINDOW, -1)).permute(0, 3, 1, 2)
        self.score_1 = nn.Parameter(dense.contiguous())

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """Run the whole network.

        Args:
            images: (B, H, W, 3) uint8 RGB canvases, pictures at the top left.
            image_sizes: (B, 2) int32 valid (height, width).

        Returns:
            windows (B, K, 4) float32 xyxy canvas px, reaching outside at its edges; scores (B, K)
            objectness, best first; masks (B, K, m, m) probabilities in each window; counts (B,)
            int32. Zeros past the count. Where FP16 overflowed before a score, no score of that
            picture is finite.
        """
        x = self.model.normalize(images, image_sizes)
        maps = self.model.levels(x, self.strides, inside_of(image_sizes, self.canvas_hw))
        logits = self.objectness(maps)
        best, index = top_k(self._valid_only(logits, image_sizes), self.slots)
        found = best > NEVER / 2
        windows = self.boxes[index] * found[..., None]
        masks = self.masks(pack(maps), index).sigmoid() * found[..., None, None]
        scores = carry_overflow(best.sigmoid() * found, logits)
        return windows, scores, masks, found.sum(dim=1).to(torch.int32)

    def objectness(self, maps: list[Tensor]) -> Tensor:
        """L maps (B, C, h, w) -> (B, W) logits of every window."""
        head = self.model.head
        dense = [F.conv2d(x, self.score_1, head.score_1.bias, padding=HALF).relu() for x in maps]
        x = torch.cat([level.flatten(2) for level in dense], dim=2)[..., None]  # (B, F, W, 1)
        x = F.conv2d(x, head.score_2.weight[..., None, None], head.score_2.bias).relu()
        x = F.conv2d(x, head.objectness.weight[..., None, None], head.objectness.bias)
        return x[:, 0, :, 0].float()

    def _valid_only(self, logits: Tensor, image_sizes: Tensor) -> Tensor:
        """Windows that are not the picture's are never chosen, see `smallest_picture`."""
        sizes = image_sizes.float()
        inside = (self.smallest[:, 1] < sizes[:, :1]) & (self.smallest[:, 0] < sizes[:, 1:])
        return torch.where(inside, logits, NEVER)

    def masks(self, pyramid: Tensor, index: Tensor) -> Tensor:
        """(B, N, C) and (B, K) -> (B, K, m, m) mask logits of those windows.

        Attention is taken here and not densely: the same numbers for a tenth of the windows.
        """
        head = self.model.head
        spatial_shapes = [side for shape in self.shapes for side in shape]
        windows = window_align_operator(pyramid, index, spatial_shapes, WINDOW)
        seen = windows + self.shift
        if head.attention is not None:
            attention = head.attention(windows.flatten(1)).sigmoid()
            seen = seen * attention.unflatten(1, (WINDOW, WINDOW))[..., None]
        x = head.mask_2(head.mask_1(seen.flatten(1)))
        logits: Tensor = x.unflatten(1, (head.cells, head.cells))
        return logits.unflatten(0, (index.shape[0], index.shape[1]))
