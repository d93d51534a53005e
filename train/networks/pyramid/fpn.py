"""The feature pyramid: five maps of one width, at strides 4 to 64.

Each of res2 to res5 goes through a 1x1 convolution; from the coarsest on, a map is made twice as
large (nearest) and added to the next finer one; a 3x3 convolution gives the level. The last level
has every second cell of the one before, which is max pooling of one cell with stride 2.

Source: Lin et al. 2017, Feature Pyramid Networks for Object Detection; layout and names as
Detectron2 modeling/backbone/fpn.py at 02b5c4e2 (`fpn_lateral2` is `lateral2` here).

`inside` (see `picture_edge`) must end at multiples of the coarsest stage's stride, 32 px: a cell
of a map is then inside exactly where the two by two cells that it becomes are.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import Conv, Norm
from ..picture_edge import every

STRIDES = (4, 8, 16, 32, 64)
"""Of the levels P2 to P6."""
POOLED = 4
"""RoIs are pooled from the first four levels; the last one is for the RPN alone."""
PADDING_PX = 32
"""Pictures end at multiples of it, as both libraries pad them (`size_divisibility`)."""


class FPN(nn.Module):
    """Maps of a backbone's four stages to the five levels."""

    def __init__(self, stage_channels: Sequence[int], channels: int, norm: Norm | None) -> None:
        super().__init__()
        self.lateral2, self.lateral3, self.lateral4, self.lateral5 = (
            Conv(width, channels, norm=norm) for width in stage_channels
        )
        self.output2, self.output3, self.output4, self.output5 = (
            Conv(channels, channels, 3, norm=norm) for _ in stage_channels
        )
        for layer in self.children():
            assert isinstance(layer, Conv), "all layers here are convolutions"
            nn.init.kaiming_uniform_(layer.weight, a=1)  # Detectron2's c2_xavier_fill

    def forward(self, stages: Sequence[Tensor], inside: Tensor | None = None) -> list[Tensor]:
        """res2 to res5, (B, C_i, H / 4, W / 4) to (B, C_i, H / 32, W / 32), H and W such multiples.

        Returns:
            P2 to P6, (B, C, H / 4, W / 4) to (B, C, ceil(H / 64), ceil(W / 64)).
        """
        laterals = (self.lateral2, self.lateral3, self.lateral4, self.lateral5)
        outputs = (self.output2, self.output3, self.output4, self.output5)
        sums = [laterals[-1](stages[-1])]
        for lateral, stage in zip(laterals[-2::-1], stages[-2::-1], strict=True):
            sums.insert(0, lateral(stage) + F.interpolate(sums[0], scale_factor=2.0))
        levels = [
            output(x, every(inside, stride))
            for output, x, stride in zip(outputs, sums, STRIDES[:POOLED], strict=True)
        ]
        return [*levels, levels[-1][:, :, ::2, ::2]]
