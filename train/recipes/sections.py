"""The sections that the recipes of all families have: pictures and solver.

Defaults are those of Detectron2's Mask R-CNN R50-C4 (configs/Base-RCNN-C4.yaml at 02b5c4e2);
`fastmask.py` puts its own in their place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ...runtime.errors import ConfigError
from .ranges import (
    LONGEST_SIDE_PX,
    Below1,
    Count,
    CountOrNone,
    Items,
    NotNegative,
    Positive,
    Range,
    Share,
    SidePx,
)

LATER = {"later": True}
"""Metadata of keys that came after checkpoints were shipped: they are not written where they have
their default, so that a recipe from before has the bytes it had."""

NO_SCALE_JITTER = (1.0, 1.0)
CanvasSide = Annotated[int, Range(16, LONGEST_SIDE_PX)]
JitterFactor = Annotated[float, Range(0.01, 4)]


@dataclass(frozen=True)
class InputConfig:
    """How pictures reach the network."""

    short_side_px: SidePx = 800
    """Shorter side after scaling at test time."""
    long_side_px: SidePx = 1333
    """Longer side never exceeds this, px."""
    train_short_sides_px: Annotated[tuple[SidePx, ...], Items(1)] = (
        *(640, 672, 704, 736, 768, 800),
    )
    """One of these is drawn for each training picture."""
    multiple_px: Annotated[int, Range(1, 1024)] = 1
    """Scaled sides are floored to a multiple of this; 1 rounds to the nearest pixel."""
    canvas_hw: tuple[CanvasSide, CanvasSide] = (800, 1344)
    """Default canvas of exported graphs, multiples of 16, on a pyramid of 32."""
    channel_order: Literal["RGB", "BGR"] = "BGR"
    """Order the first convolution's weights expect; the exported graph always takes RGB."""
    mean: tuple[float, float, float] = (103.530, 116.280, 123.675)
    """Per channel in `channel_order`, 0..255 scale."""
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    """Per channel in `channel_order`, 0..255 scale."""
    color_jitter: Share = 0.0
    """Training only: relative strength of random brightness, contrast and channel gain."""
    scale_jitter: tuple[JitterFactor, JitterFactor] = field(default=NO_SCALE_JITTER, metadata=LATER)
    """Training only: each picture's size is multiplied by a factor from this range; larger ones are
    cropped to the size without it, smaller ones padded (Ghiasi et al. 2021: [0.1, 2.0])."""
    copy_paste: Share = field(default=0.0, metadata=LATER)
    """Training only: share of the pictures over which objects of another are pasted (the same)."""

    def __post_init__(self) -> None:
        """Reject a range that holds nothing."""
        low, high = self.scale_jitter
        if low > high:
            raise ConfigError(
                f"input.scale_jitter=[{low:g}, {high:g}]: expected the smaller one first."
            )


@dataclass(frozen=True)
class SolverConfig:
    """Stochastic gradient descent and how long it runs."""

    steps: Count = 90_000
    batch: Annotated[int, Range(1, 65536)] | Literal["auto"] = 16
    """Images per step over all processes; `auto` is as many as fit into the GPUs. Whatever it
    becomes, nothing else is scaled with it."""
    lr: NotNegative = 0.02
    momentum: Below1 = 0.9
    weight_decay: NotNegative = 1e-4
    """Not applied to norm parameters and biases of norms."""
    bias_lr_factor: Positive = 1.0
    """Learning rate of biases over that of weights; those of norms have the latter's."""
    schedule: Literal["step", "cosine"] = "step"
    """`step`: x0.1 at each milestone; `cosine`: half a cosine from lr to 0."""
    milestones: tuple[Count, ...] = (60_000, 80_000)
    warmup_steps: CountOrNone = 1000
    warmup_factor: Share = 0.001
    clip_norm: NotNegative = 0.0
    """Gradients are scaled to at most this global norm; 0 leaves them alone."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Autocast type; fp16 scales the loss and is for GPUs, bf16 also runs on recent CPUs."""
    ema_decay: Below1 = 0.0
    """Decay of the exponential moving average of the weights; 0 turns it off."""
    checkpoint_every: Count = 1000
    """Steps between resumable checkpoints."""
    seed: Annotated[int, Range(0)] = 0
    """Of any size."""
    eval_every: CountOrNone = field(default=0, metadata=LATER)
    """Steps between evaluations on the val split, the last included; 0 is at the end alone."""
    accumulate: Count = field(default=1, metadata=LATER)
    """Parts of a step that go through the network one after another, in so much less memory."""
    compile: bool = field(default=False, metadata=LATER)
    """Whether the body is compiled (torch.compile), which takes minutes before the first step."""
    fused: bool = field(default=False, metadata=LATER)
    """Whether SGD is one kernel for many parameters: the same weights to rounding."""
    patience: CountOrNone = field(default=0, metadata=LATER)
    """Evaluations in a row without a new best after which the run ends; 0 is never."""

    @property
    def pictures(self) -> int:
        """Of a step, once `auto` is a number."""
        assert self.batch != "auto", "a run begins with the number that was found"
        return self.batch

    def __post_init__(self) -> None:
        """Reject patience that has nothing to count."""
        if self.patience and not self.eval_every:
            raise ConfigError(
                f"solver.patience={self.patience}: counts evaluations, and solver.eval_every=0 "
                "makes one alone, at the end; expected both. Set solver.eval_every too."
            )
