"""The FastMask family's recipe: one-shot FastMask and its multi-shot comparison DeepMask*.

Defaults are the paper's (Hu et al. 2017, FastMask). `compat: original` switches to what the
published code does where the two differ (voidrank/FastMask at cb118f1), because its weights need
it; each such place names the option.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ...runtime.errors import ConfigError
from .ranges import (
    LONGEST_SIDE_PX,
    Below1,
    Blocks,
    Cells,
    Channels,
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    QuarteredChannels,
    Range,
    Share,
    SidePx,
)
from .sections import CanvasSide, InputConfig, SolverConfig

STREAM_STRIDES = (16.0, 24.0)
"""Of the first and the second stream's own map; a neck doubles them level by level."""
LARGEST_STRIDE = 384.0


def strides_of(streams: int) -> list[float]:
    """Of all levels that so many streams and a neck can have, finest first."""
    levels = [s * 2**n for s in STREAM_STRIDES[:streams] for n in range(5)]
    return sorted(stride for stride in levels if stride <= LARGEST_STRIDE)


@dataclass(frozen=True)
class FastMaskInput(InputConfig):
    """Pictures are scaled by their long side alone; sides become multiples of 4 px."""

    short_side_px: Annotated[int, Range(0, LONGEST_SIDE_PX)] = 0
    """Of no meaning when 0."""
    long_side_px: SidePx = 1300
    """At test time (the code's zoom setting, which the paper's tables need)."""
    multiple_px: Annotated[int, Range(1, 1024)] = 4
    train_short_sides_px: tuple[SidePx, ...] = ()
    train_long_side_px: tuple[SidePx, SidePx] = (800, 869)
    """Each training picture's long side is drawn from this closed range."""
    canvas_hw: tuple[CanvasSide, CanvasSide] = (972, 1300)
    """Default canvas of exported graphs, multiples of 4."""
    channel_order: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (123.68, 116.779, 103.939)

    def __post_init__(self) -> None:
        """Reject ranges that hold nothing."""
        super().__post_init__()
        low, high = self.train_long_side_px
        if low > high:
            raise ConfigError(
                f"input.train_long_side_px=[{low}, {high}]: expected the shorter one first."
            )


@dataclass(frozen=True)
class FastMaskConfig:
    """Body, neck and head; every row of the paper's Tables 1, 2, 4 and 5 is a setting of it."""

    compat: Literal["paper", "original"] = "paper"
    """`original`: second stream with weights of its own, a fixed gain of 316.2278 between the two
    mask layers, Caffe's first pooling, objects of 0.42 to 0.68 of a window, hard negatives only."""
    body: Literal["resnet", "vgg", "pva"] = "resnet"
    streams: Literal[1, 2] = 2
    """Two: a second branch from stride 8 to stride 24 beside the one to stride 16."""
    stem_channels: Channels = 64
    """Of the first convolution; vgg and pva scale all their widths with it (64 and 32)."""
    body_channels: QuarteredChannels = 256
    """resnet only: output channels of res2; res3 and res4 double them."""
    blocks: tuple[Blocks, ...] = (3, 4, 6)
    """resnet only: bottlenecks of res2, res3 and res4; (3, 4, 6) is the paper's ResNet-39."""
    norm: Literal["frozen", "batch"] = "frozen"
    """`frozen`: fixed affine of pre-trained statistics; `batch`: trained, for runs from scratch."""
    pyramid: Literal["feature", "image"] = "feature"
    """`feature`: levels by the neck (FastMask); `image`: levels by resizing the picture and running
    the body once for each (DeepMask*), which has one stream and no neck."""
    neck: Literal["residual", "forward", "average", "max"] = "residual"
    head: Literal["attentional", "standard"] = "attentional"
    train_strides: tuple[Positive, ...] = (16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0)
    """Pixels per cell of the levels in training, finest first."""
    test_strides: tuple[Positive, ...] = (16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0)
    """The same at test time: the neck is applied as often as they need."""
    reduced_channels: Channels = 128
    """Channels of the windows."""
    score_channels: Channels = 512
    score_hidden: Channels = 1024
    dropout: Below1 = 0.5
    """After the first score layer, in training."""
    mask_rank: Channels = 512
    """Width between the two linear mask layers."""
    mask_cells: Cells = 40
    """Side of the mask the head gives; four times that after upsampling."""

    def __post_init__(self) -> None:
        """Reject settings that no network of the family has."""
        if len(self.blocks) != 3:
            raise ConfigError(
                f"model.blocks={list(self.blocks)}: expected three counts (res2, res3, res4)."
            )
        for name in ("train_strides", "test_strides"):
            self._check_strides(name, getattr(self, name))
        if self.pyramid == "image" and (self.streams != 1 or self.head != "standard"):
            raise ConfigError(
                f"model.pyramid=image: found model.streams={self.streams} and "
                f"model.head={self.head}; an image pyramid has one stream and the standard head. "
                "Set model.streams=1 model.head=standard."
            )
        if self.pyramid == "image" and self.compat == "original":
            raise ConfigError(
                "model.pyramid=image: found model.compat=original, the published FastMask code, "
                "which has no image pyramid. Set model.compat=paper."
            )

        if self.body == "pva" and self.stem_channels % 2:
            raise ConfigError(
                f"model.stem_channels={self.stem_channels}: half of them are the negatives of the "
                "others in body pva; expected an even number. Use 32."
            )

    def _check_strides(self, name: str, strides: tuple[float, ...]) -> None:
        if self.pyramid == "image":
            known = all(16 <= s <= LARGEST_STRIDE for s in strides)
            allowed = f"16 to {LARGEST_STRIDE:.0f}"
        else:
            levels = strides_of(self.streams)
            known = set(strides) <= set(levels)
            allowed = ", ".join(f"{s:.0f}" for s in levels)
        if not (known and strides and list(strides) == sorted(set(strides))):
            raise ConfigError(
                f"model.{name}={[f'{s:g}' for s in strides]}: expected rising strides out of "
                f"{allowed}. With model.streams=1 a network has 16, 32, 64, 128, ..."
            )


@dataclass(frozen=True)
class WindowConfig:
    """Which windows are trained and what for (paper, section 5.2), and how many come out."""

    scale_range: tuple[Share, Share] = (0.4, 0.8)
    """Long side of an object over the window's side for which the window can be positive."""
    center_cells: NotNegative = 1.0
    """Greatest distance of the object's centre from the window's, per axis, in cells."""
    objectness_batch: Annotated[int, Range(2, 65536)] = 64
    """Windows per picture for the objectness loss, at most half of them positive."""
    mask_batch: Count = 64
    """Positive windows per picture for the attention and mask losses."""
    hard_share: Share = 0.5
    """Share of the negatives that are drawn from the hard ones: windows centred on an object of
    another scale, or seeing one of fitting scale off centre. The rest are any negatives."""
    per_image: Annotated[int, Range(1, 3840)] = 1000
    """Proposals (slots) per picture; fewer when the canvas has fewer windows. TensorRT's TopK takes
    3840 at most."""

    def __post_init__(self) -> None:
        """Reject ranges that hold nothing."""
        low, high = self.scale_range
        if not 0 < low < high <= 1:
            raise ConfigError(f"windows.scale_range=[{low}, {high}]: expected 0 < low < high <= 1.")


@dataclass(frozen=True)
class FastMaskSolver(SolverConfig):
    """Solver of the published training (models/fm-res39.solver.prototxt)."""

    steps: Count = 1_000_000
    batch: Annotated[int, Range(1, 65536)] | Literal["auto"] = 1
    lr: NotNegative = 1e-3
    weight_decay: NotNegative = 5e-5
    bias_lr_factor: Positive = 2.0
    window_momentum: Annotated[float, Range(0, 1, without_low=True)] = 0.001
    """Share of a batch in the running statistics of the windows' norm. It suits pictures one by one
    and a million steps; runs of a few thousand need 0.1."""
    milestones: tuple[Count, ...] = (500_000,)
    warmup_steps: CountOrNone = 0


@dataclass(frozen=True)
class FastMaskRecipe:
    """Everything that makes a FastMask or DeepMask* checkpoint."""

    name: str
    family: Literal["fastmask"] = "fastmask"
    input: FastMaskInput = field(default_factory=FastMaskInput)
    model: FastMaskConfig = field(default_factory=FastMaskConfig)
    windows: WindowConfig = field(default_factory=WindowConfig)
    solver: FastMaskSolver = field(default_factory=FastMaskSolver)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Proposals have no class; every category of a data set is an object."""
        return ("object",)


def leave_second_stream(raw: dict[str, Any], overridden: Collection[str]) -> None:
    """Where `model.streams=1` was asked for alone: only the first stream's strides, in place.

    Args:
        raw: a recipe as YAML gave it, overrides applied, its values not checked yet.
        overridden: keys that were; strides among them stay as they were asked for.
    """
    model = raw.get("model")
    if "model.streams" not in overridden or not isinstance(model, dict) or model["streams"] != 1:
        return
    if model.get("pyramid") == "image":  # whose one stream has any stride
        return
    for name in ("train_strides", "test_strides"):
        strides = model.get(name, list(getattr(FastMaskConfig, name)))
        if f"model.{name}" not in overridden and isinstance(strides, list):
            model[name] = [stride for stride in strides if stride in strides_of(1)]
