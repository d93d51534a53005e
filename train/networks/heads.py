"""Mask R-CNN C4 after the backbone: large separable convolution, RPN, per-RoI trunk, branches.

Sources: the LSC paper (sections on the separable block and the re-designed subnet), Peng et al.
2017 and Light-Head R-CNN's `global_context_module` for the separable block, Detectron2
modeling/{proposal_generator,roi_heads} at 02b5c4e2 for the rest.

Letters: B images, K RoIs per image, C classes, A anchors per cell, P RoI cells per side, m mask
side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recipes.mask_rcnn import MaskRCNNConfig
from .layers import Conv, Convolutions, Doubling, Norm
from .resnet import stage


class LargeSeparableConv(nn.Module):
    """k x 1 then 1 x k, plus 1 x k then k x 1, summed, then ReLU."""

    def __init__(self, channels_in: int, channels: int, kernel: int, norm: Norm | None) -> None:
        super().__init__()
        column, row = (kernel, 1), (1, kernel)
        self.column_first = Convolutions(
            Conv(channels_in, channels, column, norm=norm), Conv(channels, channels, row, norm=norm)
        )
        self.row_first = Convolutions(
            Conv(channels_in, channels, row, norm=norm), Conv(channels, channels, column, norm=norm)
        )
        for conv in (*self.column_first, *self.row_first):
            # Light-Head's N(0, 0.01) keeps the variance at its widths (fan-in about 10^4); this
            # keeps it at any width, narrow test models included.
            nn.init.normal_(conv.weight, std=conv.weight[0].numel() ** -0.5)

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """(B, Cin, H, W) -> (B, C, H, W); `picture_edge`."""
        return (self.column_first(x, inside) + self.row_first(x, inside)).relu_()


class RPN(nn.Module):
    """Objectness and box deltas for every anchor; hidden width equals the input's."""

    def __init__(
        self, channels: int, anchors_per_cell: int, norm: Norm | None, convolutions: int = 1
    ) -> None:
        super().__init__()
        self.conv = Conv(channels, channels, 3, norm=norm, relu=True)
        self.more = convolutions_of(channels, channels, convolutions - 1, norm)
        self.objectness_logits = Conv(channels, anchors_per_cell)
        self.anchor_deltas = Conv(channels, 4 * anchors_per_cell)
        for layer in (self.conv, *self.more, self.objectness_logits, self.anchor_deltas):
            assert isinstance(layer, Conv), "all layers here are convolutions"
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, features: Tensor, inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> float32 logits (B, H*W*A), deltas (B, H*W*A, 4), order y, x, anchor.

        Features are zero outside the picture (`picture_edge`): RoIAlign reads the same.
        """
        hidden = self.more(self.conv(features), inside)
        logits = self.objectness_logits(hidden).permute(0, 2, 3, 1).flatten(1)
        deltas = self.anchor_deltas(hidden).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4))
        return logits.float(), deltas.float()


class C5Subnet(nn.Module):
    """ResNet's res5 on every RoI, then the mean over cells for the box branch."""

    def __init__(self, config: MaskRCNNConfig, channels_in: int) -> None:
        super().__init__()
        self.channels = 8 * config.backbone_channels
        self.box_features = self.channels
        self.res5 = stage(
            config.blocks[3],
            channels_in,
            self.channels,
            stride=2,
            stride_in_1x1=config.stride_in_1x1,
            norm=config.norm,
        )

    def forward(self, rois: Tensor) -> Tensor:
        """(N, Cin, P, P) -> (N, channels, P / 2, P / 2)."""
        return self.res5(rois)

    def pooled(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) -> (N, box_features)."""
        return nn.functional.avg_pool2d(x, x.shape[-1]).flatten(1)


class LightSubnet(nn.Module):
    """The paper's two 3x3 convolutions at full RoI size; average pooling for the box branch."""

    def __init__(self, config: MaskRCNNConfig, channels_in: int) -> None:
        super().__init__()
        self.channels = config.subnet_channels
        self.window = config.pooling
        self.box_features = self.channels * (config.roi_size // config.pooling) ** 2
        norm: Norm | None = "batch" if config.head_norm else None
        middle = config.subnet_mid_channels
        self.conv1 = Conv(channels_in, middle, 3, norm=norm, relu=True)
        self.conv2 = Conv(middle, config.subnet_channels, 3, norm=norm, relu=True)

    def forward(self, rois: Tensor) -> Tensor:
        """(N, Cin, P, P) -> (N, channels, P, P)."""
        return self.conv2(self.conv1(rois))

    def pooled(self, x: Tensor) -> Tensor:
        """(N, channels, P, P) -> (N, box_features), window and stride `pooling`."""
        return nn.functional.avg_pool2d(x, self.window).flatten(1)


class BoxPredictor(nn.Module):
    """Class logits (background last) and class-specific box deltas (no background rows)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(features, classes + 1)
        self.bbox_pred = nn.Linear(features, 4 * classes)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, features) -> logits (N, C + 1) and deltas (N, C, 4), float32."""
        return self.cls_score(x).float(), self.bbox_pred(x).float().unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """3x3 convolutions if any, 2x2 stride 2 deconvolution, ReLU, one 1x1 channel per class."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        classes: int,
        convolutions: int = 0,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.convolutions = convolutions_of(channels_in, channels, convolutions, norm)
        last = channels if convolutions else channels_in
        self.deconv = Doubling(last, channels)
        self.predictor = Conv(channels, classes)
        nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.deconv.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.predictor.weight, std=0.001)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(N, Cin, h, w) and (N,) labels -> (N, 2h, 2w) float32 logits of each label's channel.

        Only the asked-for channel is computed: one gathered weight row per RoI, not all classes.
        """
        hidden = self.deconv(self.convolutions(x)).relu_().flatten(2)
        rows = self.predictor.weight[:, :, 0, 0][labels].to(hidden.dtype)  # (N, C')
        bias = self.predictor.bias[labels].float()  # type: ignore[index]
        if not self.deconv.folded:
            logits = torch.bmm(rows[:, None], hidden)[:, 0].float() + bias[:, None]
            return logits.unflatten(1, (2 * x.shape[2], 2 * x.shape[3]))
        corners = torch.matmul(rows[:, None, None], hidden.unflatten(1, (4, -1)))[:, :, 0]
        logits = corners.float() + bias[:, None, None]  # (N, 4, h * w)
        return F.pixel_shuffle(logits.unflatten(2, x.shape[2:]), 2)[:, 0]


def convolutions_of(
    channels_in: int, channels: int, count: int, norm: Norm | None = None
) -> Convolutions:
    """`count` 3x3 convolutions with ReLU, none of which leaves the map as it is."""
    return Convolutions(
        *(
            Conv(channels if n else channels_in, channels, 3, norm=norm, relu=True)
            for n in range(count)
        )
    )
