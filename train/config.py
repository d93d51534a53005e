"""Recipes: frozen dataclasses, read from YAML, changed by `key=value`, written back resolved.

A recipe in `recipes/*.yaml` mirrors `Recipe` key for key; keys left out keep the defaults below,
which are those of Detectron2's Mask R-CNN R50-C4 (configs/Base-RCNN-C4.yaml at 02b5c4e2) unless a
docstring says otherwise. No includes, no inheritance, no class paths. Unknown keys are errors that
offer the nearest known name.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..runtime.errors import ConfigError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class InputConfig:
    """How pictures reach the network."""

    short_side_px: int = 800
    """Shorter side after scaling at test time."""
    long_side_px: int = 1333
    """Longer side never exceeds this, px."""
    train_short_sides_px: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    """One of these is drawn for each training picture."""
    canvas_hw: tuple[int, int] = (800, 1344)
    """Default canvas of exported graphs, multiples of 16."""
    channel_order: Literal["RGB", "BGR"] = "BGR"
    """Order the first convolution's weights expect; the exported graph always takes RGB."""
    mean: tuple[float, float, float] = (103.530, 116.280, 123.675)
    """Per channel in `channel_order`, 0..255 scale."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Per channel in `channel_order`, 0..255 scale."""
    color_jitter: float = 0.0
    """Training only: relative strength of random brightness, contrast and channel gain."""


@dataclass(frozen=True)
class MaskRCNNConfig:
    """The Mask R-CNN C4 family; every row of the LSC paper's Tables I to III is a setting of it."""

    stem_channels: int = 64
    """Channels after the 7x7 stem convolution."""
    backbone_channels: int = 256
    """Output channels of res2; each later stage doubles them, bottlenecks use a quarter."""
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    """Bottleneck blocks of res2, res3, res4 and (subnet c5 only) res5."""
    stride_in_1x1: bool = True
    """True: MSRA weights, the stride sits in the first 1x1; False: torchvision, in the 3x3."""
    norm: Literal["frozen", "batch"] = "frozen"
    """`frozen`: fixed affine of pre-trained statistics; `batch`: trained, for runs from scratch."""
    head_norm: bool = False
    """Batch norm also in the separable block, RPN and light subnet, which runs from scratch need
    (He et al. 2018, Rethinking ImageNet Pre-training, section 3.1)."""
    freeze_at: int = 2
    """Stages whose weights are not trained: 2 is stem and res2, 0 is none."""
    separable_channels: int = 0
    """Middle and output channels of the large separable convolution (Table II: always equal);
    0 leaves it out, which is the baseline."""
    separable_kernel: int = 15
    """k of the k x 1 and 1 x k convolutions (odd)."""
    subnet: Literal["c5", "light"] = "c5"
    """Per-RoI trunk: ResNet's res5, or the paper's two 3x3 convolutions."""
    subnet_mid_channels: int = 256
    """light only: channels of the first 3x3 convolution (256 in both frameworks)."""
    subnet_channels: int = 512
    """light only: Cout of the second 3x3 convolution (512: framework 1, 1024: framework 2)."""
    pooling: int = 7
    """light only: average pooling window and stride on the 14x14 map; 14 is global pooling."""
    mask_channels: int = 256
    """Width of the mask branch's deconvolution."""
    roi_size: int = 14
    """RoIAlign output cells per side."""
    sampling_ratio: int = 2
    """RoIAlign samples per cell and axis."""
    anchor_sizes_px: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Square root of the anchors' areas."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width."""

    def __post_init__(self) -> None:
        """Reject settings that no network of the family has."""
        if self.subnet == "light" and (self.pooling < 1 or self.roi_size % self.pooling):
            raise ConfigError(
                f"model.pooling={self.pooling}: does not divide model.roi_size={self.roi_size}; "
                "expected 7 or 14 for 14x14 RoIs. Choose a divisor."
            )
        if self.separable_kernel % 2 == 0:
            raise ConfigError(
                f"model.separable_kernel={self.separable_kernel}: must be odd, so that padding "
                "keeps the map's size. Use 15 as the paper does."
            )
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise ConfigError(
                f"model.blocks={list(self.blocks)}: expected four counts of at least 1 "
                "(res2, res3, res4, res5)."
            )
        if self.sampling_ratio < 1:
            raise ConfigError(
                f"model.sampling_ratio={self.sampling_ratio}: expected at least 1 sample per cell "
                "and axis; adaptive sampling (0) is not supported. Use 2."
            )


@dataclass(frozen=True)
class ProposalConfig:
    """From RPN outputs to proposals, and the RPN's training targets."""

    pre_nms_train: int = 12000
    post_nms_train: int = 2000
    pre_nms_test: int = 3000
    """Anchors kept before NMS at test time. Detectron2 keeps 6000; TensorRT's TopK takes 3840."""
    post_nms_test: int = 1000
    nms_iou: float = 0.7
    """A box is suppressed when its IoU with a better one is above this."""
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    batch_per_image: int = 256
    """Anchors sampled per image for the losses."""
    positive_fraction: float = 0.5


@dataclass(frozen=True)
class DetectionConfig:
    """From box head outputs to instances, and the box head's training targets."""

    score_threshold: float = 0.05
    """Candidates must score strictly above this."""
    nms_iou: float = 0.5
    candidates: int = 1000
    """Best (RoI, class) pairs that enter NMS. Detectron2 takes all above the threshold; pairs
    beyond the best 1000 could only fill the tail of the 100 detections."""
    per_image: int = 100
    """Detections (slots) per image."""
    positive_iou: float = 0.5
    batch_per_image: int = 512
    """RoIs sampled per image for the losses."""
    positive_fraction: float = 0.25


@dataclass(frozen=True)
class SolverConfig:
    """Stochastic gradient descent and how long it runs."""

    steps: int = 90_000
    batch: int = 16
    """Images per step over all processes."""
    lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    """Not applied to norm parameters and biases of norms."""
    schedule: Literal["step", "cosine"] = "step"
    """`step`: x0.1 at each milestone; `cosine`: half a cosine from lr to 0."""
    milestones: tuple[int, ...] = (60_000, 80_000)
    warmup_steps: int = 1000
    warmup_factor: float = 0.001
    clip_norm: float = 0.0
    """Gradients are scaled to at most this global norm; 0 leaves them alone."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Autocast type; fp16 needs CUDA (with loss scaling), bf16 also runs on recent CPUs."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights; 0 turns it off."""
    checkpoint_every: int = 1000
    """Steps between resumable checkpoints."""
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a checkpoint."""

    name: str
    family: Literal["mask_rcnn"] = "mask_rcnn"
    classes: tuple[str, ...] | Literal["coco", "shapes"] = "coco"
    """Class names in label order, or the name of a known list."""
    input: InputConfig = field(default_factory=InputConfig)
    model: MaskRCNNConfig = field(default_factory=MaskRCNNConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    detections: DetectionConfig = field(default_factory=DetectionConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)

    def __post_init__(self) -> None:
        """Reject what no data set can have."""
        if len(set(self.class_names)) != len(self.class_names) or not self.class_names:
            raise ConfigError(
                f"classes={list(self.class_names)}: expected at least one name and none twice. "
                "Name the classes in label order."
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The resolved class names."""
        from .classes import CLASS_LISTS

        return CLASS_LISTS[self.classes] if isinstance(self.classes, str) else self.classes


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name, or any YAML file, and apply `key=value` overrides.

    Raises:
        ConfigError: no such recipe, broken YAML, unknown key or a value of the wrong type.
    """
    import yaml

    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.yaml"))
        near = difflib.get_close_matches(str(name_or_path), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        raise ConfigError(f"{name_or_path}: no such recipe or YAML file. {hint}")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: not valid YAML ({str(err).splitlines()[0]}).") from err
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds no mapping; expected a recipe with keys like 'model:'.")
    for text in overrides:
        _override(raw, text)
    return _build(Recipe, raw, str(path), "")


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every key written out, class names included."""
    import yaml

    plain = _plain(dataclasses.asdict(recipe))
    plain["classes"] = list(recipe.class_names)
    return yaml.safe_dump(plain, sort_keys=False)


def _override(raw: dict[str, Any], text: str) -> None:
    import yaml

    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"'{text}': not an override; expected key=value like solver.lr=0.01.")
    *parents, leaf = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"'{text}': '{parent}' is a value, not a section.")
    try:
        raw[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as err:
        reason = str(err).splitlines()[0]
        raise ConfigError(f"'{text}': the value is not valid YAML ({reason}).") from err


def _build(cls: type[Any], raw: Any, where: str, prefix: str) -> Any:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: '{prefix.rstrip('.')}' is {raw!r}; expected a section.")
    hints = typing.get_type_hints(cls)
    for key in raw:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"Did you mean '{prefix}{near[0]}'?" if near else f"Known: {', '.join(hints)}."
            raise ConfigError(f"{where}: unknown key '{prefix}{key}'. {hint}")
    values = {k: _value(hints[k], v, where, f"{prefix}{k}") for k, v in raw.items()}
    try:
        return cls(**values)
    except TypeError as err:
        raise ConfigError(f"{where}: {prefix or 'the recipe '}lacks a key ({err}).") from err


def _value(hint: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value, where, f"{key}.")
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        chosen = options[0] if isinstance(value, list) else options[1]
        return _value(chosen, value, where, key)
    checked = _converted(hint, value)
    if checked is None:
        raise ConfigError(f"{where}: {key}={value!r}; expected {_spoken(hint)}.")
    return checked


def _converted(hint: Any, value: Any) -> Any:
    """`value` as type `hint`, or None when it is not one."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value if value in typing.get_args(hint) else None
    if origin is tuple:
        return _converted_items(typing.get_args(hint), value)
    if hint is bool or isinstance(value, bool):
        return value if hint is bool and isinstance(value, bool) else None
    if hint is float:
        return _number(value)
    return value if isinstance(value, hint) else None


def _converted_items(hints: tuple[Any, ...], value: Any) -> tuple[Any, ...] | None:
    """A list as `tuple[item, ...]`, or as a tuple of exactly so many items."""
    if not isinstance(value, list) or (Ellipsis not in hints and len(value) != len(hints)):
        return None
    items = tuple(_converted(hints[0], v) for v in value)
    return None if None in items else items


def _number(value: Any) -> float | None:
    """A finite number; YAML 1.1 reads 1e-4, which has no dot, as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _spoken(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(repr(v) for v in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        item, *others = typing.get_args(hint)
        how_many = "of" if Ellipsis in others else f"of {1 + len(others)}, each"
        return f"a list {how_many} {_spoken(item)}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
