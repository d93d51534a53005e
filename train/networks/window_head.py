"""What FastMask does with a window: its norm, objectness, attention and mask.

Windows are (M, 10, 10, C), channels last, so a flattened window is one contiguous row of an
operator's output; fully connected weights follow that order. Source of the layers: voidrank
FastMask's models/fm-res39.{train,test}.prototxt at cb118f1; the paper does not give their sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes.fastmask import FastMaskConfig
from .layers import EPS, TrainedNorm
from .windows import WINDOW, coverage

ORIGINAL_GAIN = 1e-5**-0.5
"""316.2278: the published seg_1_bn never left its initial statistics and only multiplies."""

START = 48.0
"""Of the scale between the mask layers. The mask loss is a mean over 25,600 pixels, so each weight
of the last layer sees a 1600th of it; the published code's gain makes up for that, this does here.
"""


class WindowNorm(TrainedNorm):
    """Batch norm over all cells of all windows, padding included.

    Windows overlap, so their statistics are those of the maps' cells weighted by the number of
    windows that cover each: no window has to be cut for them.
    """

    def __init__(self, channels: int, momentum: float) -> None:
        """`momentum` is a batch's share in the running statistics."""
        super().__init__(channels)
        self.momentum = momentum

    def of_maps(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Scale and shift (C,) in training, from L maps (B, C, h, w) that hold all windows."""
        total = 0
        first = second = torch.zeros_like(self.running_mean)
        for x in maps:
            rows, columns = (coverage(n).to(x.device) for n in x.shape[2:])
            weights = rows[:, None] * columns
            values = x.float()
            first = first + (values * weights).sum(dim=(0, 2, 3))
            second = second + (values.square() * weights).sum(dim=(0, 2, 3))
            total += x.shape[0] * WINDOW**2 * (x.shape[2] + 1) * (x.shape[3] + 1)
        return self._affine(first / total, second / total)

    def of_windows(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (C,) in training, from windows (M, 10, 10, C) that are all there are."""
        values = windows.float().flatten(0, 2)
        return self._affine(values.mean(dim=0), values.square().mean(dim=0))

    def _affine(self, mean: Tensor, mean_square: Tensor) -> tuple[Tensor, Tensor]:
        variance = (mean_square - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        return self._scale_shift(mean, variance)

    def trained(self) -> tuple[Tensor, Tensor]:
        """Scale and shift (C,) of the running statistics."""
        return self._scale_shift(self.running_mean, self.running_var)

    def _scale_shift(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.weight * (variance + EPS).rsqrt()
        return scale, self.bias - mean * scale


class WindowHead(nn.Module):
    """Objectness, attention and mask of normalized windows."""

    def __init__(self, config: FastMaskConfig) -> None:
        super().__init__()
        inputs = WINDOW**2 * config.reduced_channels
        self.dropout, self.cells = config.dropout, config.mask_cells
        original = config.compat == "original"
        self.gain = ORIGINAL_GAIN if original else 1.0
        self.score_1 = nn.Linear(inputs, config.score_channels)
        self.score_2 = nn.Linear(config.score_channels, config.score_hidden)
        self.objectness = nn.Linear(config.score_hidden, 1)
        self.attention: nn.Linear | None = None
        if config.head == "attentional":
            self.attention = nn.Linear(inputs, WINDOW**2)
        self.mask_1 = nn.Linear(inputs, config.mask_rank, bias=False)
        self.mask_scale = nn.Parameter(torch.full((config.mask_rank,), 1.0 if original else START))
        self.mask_shift = nn.Parameter(torch.zeros(config.mask_rank))
        self.mask_2 = nn.Linear(config.mask_rank, config.mask_cells**2)
        _start(self)

    def scores(self, windows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(M, 10, 10, C) -> (M,) objectness logits; `generator` draws the dropout of training."""
        x = self.score_1(windows.flatten(1)).relu()
        if generator is not None and self.dropout:
            kept = torch.rand(x.shape, generator=generator) >= self.dropout
            x = x * kept.to(x) / (1 - self.dropout)
        logits: Tensor = self.objectness(self.score_2(x).relu())[:, 0]
        return logits

    def masks(self, windows: Tensor) -> tuple[Tensor, Tensor | None]:
        """(M, 10, 10, C) -> mask logits (M, m, m) and attention logits (M, 10, 10), if any."""
        attention = None
        if self.attention is not None:
            attention = self.attention(windows.flatten(1)).unflatten(1, (WINDOW, WINDOW))
            windows = windows * attention.sigmoid()[..., None]
        x = self.mask_1(windows.flatten(1))
        x = x * (self.gain * self.mask_scale) + self.mask_shift
        return self.mask_2(x).unflatten(1, (self.cells, self.cells)), attention


def upsampled(logits: Tensor) -> Tensor:
    """(M, m, m) -> (M, 4 m, 4 m) bilinear, half-pixel centres, edges repeated."""
    return F.interpolate(logits[:, None], scale_factor=4, mode="bilinear")[:, 0]


def _start(head: WindowHead) -> None:
    """Layers before a ReLU keep their input's variance; outputs start near zero."""
    for linear in (head.score_1, head.score_2):
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.kaiming_normal_(head.mask_1.weight, nonlinearity="linear")
    nn.init.normal_(head.objectness.weight, std=0.01)
    nn.init.normal_(head.mask_2.weight, std=0.001)
    if head.attention is not None:
        nn.init.normal_(head.attention.weight, std=1e-4)
    for layer in head.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
