"""What training does to a picture: mirror, scale, crop, paste over, recolour; instances follow.

    moving.py: size and mirror -> cropping.py: window -> copy_paste.py -> colours

Nothing here draws from global random state: the caller's generator decides everything.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.contract import ResizeRule
from ...runtime.pictures.preprocess import scaled_size_hw
from .copy_paste import pasted
from .cropping import Window, cropped
from .dataset import Bytes, CocoInstances, Sample
from .moving import Move, moved


@dataclass(frozen=True)
class Augmentation:
    """What `augment` may do to a picture."""

    resize: ResizeRule
    short_sides_px: tuple[int, ...] = ()
    """The short side is drawn from these; empty means that of `resize`, always."""
    long_side_px: tuple[int, int] | None = None
    """The long side is drawn from this closed range; None means that of `resize`, always."""
    flip: float = 0.5
    """Probability of mirroring left to right, 0..1."""
    jitter: float = 0.0
    """Photometric strength 0..1: brightness, contrast and each channel vary by up to this share."""
    scale_jitter: tuple[float, float] | None = None
    """Large-scale jitter: the size drawn above times a factor from this range. What is larger than
    without it is cropped to that size, what is smaller padded. None: sizes stay as drawn."""
    copy_paste: float = 0.0
    """Probability that objects of another picture are pasted over, 0..1."""


def augment(
    sample: Sample,
    augmentation: Augmentation,
    rng: np.random.Generator,
    others: CocoInstances | None = None,
) -> Sample:
    """Mirror, scale, crop, paste over and recolour one sample as `rng` decides.

    The scaled size is that of the runtime's `scaled_size_hw`, so training sees what inference sees.

    Args:
        sample: a picture and its instances, which follow it.
        augmentation: what may happen.
        rng: decides what does.
        others: the pictures that pasted objects come from; None pastes nothing.

    Raises:
        InputError: the other picture is missing or broken.
    """
    changed = _placed(sample, augmentation, rng)
    if others is not None and augmentation.copy_paste and rng.random() < augmentation.copy_paste:
        other = others[int(rng.integers(len(others)))]
        changed = pasted(changed, _placed(other, augmentation, rng), rng)
    if augmentation.jitter > 0:
        changed = dataclasses.replace(
            changed, image=recoloured(changed.image, *_gains(augmentation.jitter, rng))
        )
    return changed


def _placed(sample: Sample, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
    """Scaled, mirrored and, with scale jitter, cropped."""
    rule = augmentation.resize
    if augmentation.short_sides_px:
        short = int(rng.choice(augmentation.short_sides_px))
        rule = dataclasses.replace(rule, short_side_px=short)
    if augmentation.long_side_px:
        long = int(rng.integers(*augmentation.long_side_px, endpoint=True))
        rule = dataclasses.replace(rule, long_side_px=long)
    old_hw = sample.image.shape[:2]
    # A square canvas of the long side never limits more than the rule itself does.
    seen_hw = scaled_size_hw(old_hw, rule, (rule.long_side_px,) * 2)
    mirrored = rng.random() < augmentation.flip
    if augmentation.scale_jitter is None:
        return moved(sample, Move(old_hw, seen_hw, seen_hw, mirrored))
    factor = rng.uniform(*augmentation.scale_jitter)
    size_hw = jittered_size_hw(old_hw, seen_hw, factor, rule.multiple_px)
    scaled = moved(sample, Move(old_hw, size_hw, seen_hw, mirrored))
    shown = cropped(scaled, _window(size_hw, seen_hw, rng))
    # padded to what it would be without: a batch norm learns nothing on a canvas of a few cells
    return dataclasses.replace(shown, room_hw=seen_hw)


def jittered_size_hw(
    image_hw: tuple[int, int], seen_hw: tuple[int, int], factor: float, multiple_px: int
) -> tuple[int, int]:
    """`seen_hw` times `factor`, in the aspect ratio of `image_hw`, rounded by `scaled_size_hw`.

    torchvision's ScaleJitter rounds down: with a square target each side is one pixel more here,
    or the same.
    """
    long = max(round(max(seen_hw) * factor), multiple_px)
    return scaled_size_hw(image_hw, ResizeRule(0, long, multiple_px), (long, long))


def _window(size_hw: tuple[int, int], most_hw: tuple[int, int], rng: np.random.Generator) -> Window:
    """As much of a picture as `most_hw` has room for, anywhere in it."""
    window_hw = np.minimum(size_hw, most_hw)
    y, x = rng.integers(0, np.subtract(size_hw, window_hw), endpoint=True).tolist()
    height, width = window_hw.tolist()
    return Window((y, x), (height, width))


def _gains(strength: float, rng: np.random.Generator) -> tuple[float, npt.NDArray[np.float64]]:
    """A contrast, and a gain of each channel: brightness for all times one of its own."""
    contrast, brightness = 1 + strength * rng.uniform(-1, 1, 2)
    return contrast, brightness * (1 + strength * rng.uniform(-1, 1, 3))


def recoloured(image: Bytes, contrast: float, gains: npt.NDArray[np.float64]) -> Bytes:
    """Contrast about mid-grey and channel gains, rounded once, as one table per channel.

    A gain is torchvision's `adjust_brightness` but for its rounding down. Its `adjust_contrast`
    turns about the picture's mean grey m and not about 127.5: that is this, plus (m - 127.5) (1 -
    contrast) on every channel, which is a change of brightness.
    """
    levels = (np.arange(256) - 127.5) * contrast + 127.5
    table = np.clip(np.round(levels[:, None] * gains), 0, 255).astype(np.uint8)[None]  # (1, 256, 3)
    return np.asarray(cv2.LUT(image, table), np.uint8)
