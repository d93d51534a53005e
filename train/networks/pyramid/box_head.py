"""The box branch's trunk on a pyramid: convolutions if any, then linear layers.

Sources: Detectron2 modeling/roi_heads/box_head.py at 02b5c4e2 (two linear layers of 1024);
torchvision 0.29 `FastRCNNConvFCHead` of its second version (four convolutions with batch norm, one
linear layer).
"""

from __future__ import annotations

from torch import Tensor, nn

from ..heads import convolutions_of
from ..layers import Norm


class BoxHead(nn.Module):
    """RoIs to feature vectors; `fc1`, `fc2` ... are the linear layers, flattened as c, y, x."""

    def __init__(
        self,
        channels_in: int,
        cells: int,
        *,
        convolutions: int,
        linears: int,
        features: int,
        norm: Norm | None,
    ) -> None:
        super().__init__()
        self.convolutions = convolutions_of(channels_in, channels_in, convolutions, norm)
        self.linears = linears
        width = channels_in * cells * cells
        for number in range(1, linears + 1):
            layer = nn.Linear(width, features)
            nn.init.kaiming_uniform_(layer.weight, a=1)  # Detectron2's c2_xavier_fill
            nn.init.zeros_(layer.bias)
            self.add_module(f"fc{number}", layer)
            width = features

    def forward(self, rois: Tensor) -> Tensor:
        """(N, Cin, P, P) -> (N, features)."""
        x = self.convolutions(rois).flatten(1)
        for number in range(1, self.linears + 1):
            x = self.get_submodule(f"fc{number}")(x).relu_()
        return x
