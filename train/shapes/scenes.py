"""One picture of the shapes data set: textured shapes on a textured ground, exact visible masks.

Ten silhouettes that differ in outline only: colour, texture, light and place are drawn from the
same distribution for every class, so a network has to learn shape. Later objects cover earlier
ones; an object that would hide another beyond what an annotation may lose is moved or left out,
therefore nothing in a picture stays without its annotation. Drawing is OpenCV only and takes a few
milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .outlines import CLASS_NAMES, OUTLINES, Floats

Bytes = npt.NDArray[np.uint8]

PICTURE_SIDE_PX = (240, 320)
OBJECTS = (1, 15)
SMALLEST_PX = 12
LARGEST_SHARE = 0.8
MIN_VISIBLE_SHARE = 0.4
MIN_VISIBLE_PX = 30

_PLACES_TRIED = 6
_TILT_RAD = 0.35  # standard deviation of an object's turn
GROUND_DEPTH, _OBJECT_DEPTH = 0.5, 0.75  # contrast within a texture, of that of its two colours
_BACKGROUND_CONTRAST = 90.0  # RGB distance of mean colours; below it even people miss small shapes
_TURN = 2 * np.pi * np.arange(256) / 256
_SINE: Bytes = np.round(127.5 + 127.5 * np.sin(_TURN)).astype(np.uint8)
_SQUARE: Bytes = np.round(127.5 + 127.5 * np.clip(4 * np.sin(_TURN), -1, 1)).astype(np.uint8)
_DOT: Bytes = np.clip((np.arange(256) - 150) * 8 + 128, 0, 255).astype(np.uint8)
# Inverse normal distribution at 256 levels: random bytes become Gaussian noise by look-up.
_NORMAL = np.sort(np.random.default_rng(0).standard_normal(256 * 64)).reshape(256, 64).mean(axis=1)


@dataclass(frozen=True)
class Scene:
    """A picture and what is visible in it."""

    image: Bytes
    """(H, W, 3) uint8 RGB."""
    labels: tuple[int, ...]
    """Index into the kinds per object, in drawing order; never empty."""
    owner: Bytes
    """(H, W) uint8: 0 ground, i where object i - 1 is visible."""


def draw_scene(
    rng: np.random.Generator,
    image_hw: tuple[int, int] | None = None,
    kinds: Sequence[str] = CLASS_NAMES,
) -> Scene:
    """Draw one picture; everything in it is decided by `rng`.

    Args:
        rng: decides.
        image_hw: height and width in pixels; None leaves them to `rng`, 240..320 each.
        kinds: of objects, in label order, names of `OUTLINES`.

    Returns:
        A `Scene` with 1..15 objects; each object shows at least two fifths
        of its whole area and at least 30 px.
    """
    drawn_hw = (int(v) for v in rng.integers(*PICTURE_SIDE_PX, size=2, endpoint=True))
    height, width = drawn_hw if image_hw is None else image_hw
    ground = colours(rng, saturation=0.55, depth=GROUND_DEPTH)
    image = texture(rng, (height, width), ground, (8.0, 80.0))
    owner = np.zeros((height, width), np.uint8)
    labels: list[int] = []
    whole_px = [0]  # indexed as `owner`; entry 0 is the ground
    for side_px in _object_sides(rng, min(height, width)):
        label = int(rng.integers(len(kinds)))
        alpha = silhouette(rng, OUTLINES[kinds[label]], side_px)
        corner = _free_place(rng, alpha, owner, whole_px)
        if corner is None:
            continue
        labels.append(label)
        whole_px.append(int(np.count_nonzero(alpha > 127)))
        mean = ground.mean(axis=0)
        paint(rng, image, owner, alpha, corner=corner, number=len(labels), ground=mean)
    if not labels:  # every place refused (a lone sliver of a shape); the next draw differs
        return draw_scene(rng, image_hw, kinds)
    return Scene(lit(rng, image), tuple(labels), owner)


def _object_sides(rng: np.random.Generator, picture_px: int) -> list[float]:
    """Long sides in px, roughly the largest first so that small objects mostly lie on top."""
    # The smaller of two draws: sparse pictures are commoner than crowded ones.
    count = int(rng.integers(*OBJECTS, size=2, endpoint=True).min())
    top = LARGEST_SHARE * picture_px
    # Log-uniform would make half of all objects small; the exponent moves them up the scale.
    sides = SMALLEST_PX * (top / SMALLEST_PX) ** (rng.uniform(0, 1, count) ** 0.6)
    large = rng.random(count) < 0.2
    sides[large] = rng.uniform(0.5 * top, top, count)[large]
    order = np.argsort(-np.log(sides) + rng.normal(0, 0.6, count))
    return [float(v) for v in sides[order]]


def silhouette(rng: np.random.Generator, shape: tuple[Floats, ...], side_px: float) -> Bytes:
    """Anti-aliased coverage (h, w) uint8 of one turned and stretched shape, its window tight."""
    angle, stretch = rng.normal(0, _TILT_RAD), np.exp(rng.uniform(-0.2, 0.2))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outlines = [(o * [stretch, 1]) @ turn for o in shape]
    low, high = outlines[0].min(axis=0), outlines[0].max(axis=0)
    scale = side_px / (high - low).max()
    offset = rng.uniform(0, 1, 2)  # the sub-pixel place
    width, height = (int(v) for v in np.ceil((high - low) * scale + offset))
    factor = 4 if side_px < 100 else 2
    # OpenCV puts pixel centres on integers, hence - 0.5; shift=4 keeps 1/16 of a fine pixel.
    fine = [((o - low) * scale + offset) * factor - 0.5 for o in outlines]
    canvas = np.zeros((height * factor, width * factor), np.uint8)
    cv2.fillPoly(canvas, [np.round(f * 16).astype(np.int32) for f in fine], (255,), shift=4)
    return np.asarray(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _free_place(
    rng: np.random.Generator, alpha: Bytes, owner: Bytes, whole_px: list[int]
) -> tuple[int, int] | None:
    """A window corner (y, x), maybe outside the picture, that keeps every object visible enough."""
    visible_px = np.bincount(owner.ravel(), minlength=len(whole_px))
    needed_px = _needed_px(np.array(whole_px))
    needed_px[0] = 0  # the ground may vanish
    own_px = np.count_nonzero(alpha > 127)
    for _ in range(_PLACES_TRIED):
        centre = rng.uniform(0.04, 0.96, 2) * owner.shape
        corner = int(centre[0] - alpha.shape[0] / 2), int(centre[1] - alpha.shape[1] / 2)
        there, here = _windows(alpha.shape, owner.shape, corner)
        covered = owner[there][alpha[here] > 127]
        left_px = visible_px - np.bincount(covered, minlength=len(whole_px))
        # At least half of a new object lies inside, so that it can still be partly covered.
        inside = len(covered) >= max(0.5 * own_px, MIN_VISIBLE_PX)
        if inside and np.all(left_px >= needed_px):
            return corner
    return None


def _needed_px(whole_px: npt.NDArray[np.int64]) -> Floats:
    """The visible area below which an object would lose its annotation."""
    needed: Floats = np.maximum(MIN_VISIBLE_SHARE * whole_px, float(MIN_VISIBLE_PX))
    return needed


def _windows(
    small_hw: tuple[int, ...], big_hw: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a window at `corner` overlaps the picture: in the picture's and in its own frame."""
    there, here = [], []
    for start, small, big in zip(corner, small_hw, big_hw, strict=True):
        low, high = max(start, 0), min(start + small, big)
        there.append(slice(low, max(high, low)))
        here.append(slice(low - start, max(high, low) - start))
    return (there[0], there[1]), (here[0], here[1])


def paint(
    rng: np.random.Generator,
    image: Bytes,
    owner: Bytes,
    alpha: Bytes,
    *,
    corner: tuple[int, int],
    number: int,
    ground: Floats,
) -> None:
    """Blend one textured object, sometimes with its soft shadow, into `image`; claim its pixels."""
    side_px = max(alpha.shape)
    if side_px > 20 and rng.random() < 0.5:
        _cast_shadow(rng, image, alpha, corner)
    pair = colours(rng, saturation=1.0, depth=_OBJECT_DEPTH)
    while np.linalg.norm(pair.mean(axis=0) - ground) < _BACKGROUND_CONTRAST:
        pair = colours(rng, saturation=1.0, depth=_OBJECT_DEPTH)
    fill = texture(rng, alpha.shape, pair, (max(4.0, side_px / 8), max(6.0, side_px / 2)))
    there, here = _windows(alpha.shape, owner.shape, corner)
    weight = cv2.cvtColor(alpha[here], cv2.COLOR_GRAY2RGB).astype(np.uint16)
    image[there] = (image[there] * (255 - weight) + fill[here] * weight + 127) // 255
    owner[there][alpha[here] > 127] = number


def _cast_shadow(
    rng: np.random.Generator, image: Bytes, alpha: Bytes, corner: tuple[int, int]
) -> None:
    """Darken what lies beneath by the blurred silhouette, a little aside."""
    reach = max(2, round(max(alpha.shape) * 0.05))
    rim = 2 * reach
    wide = cv2.copyMakeBorder(alpha, rim, rim, rim, rim, cv2.BORDER_CONSTANT)
    soft = np.asarray(cv2.blur(cv2.blur(wide, (reach, reach)), (reach, reach)), np.uint8)
    aside = rng.integers(-reach, reach, size=2, endpoint=True) - rim
    place = int(corner[0] + aside[0]), int(corner[1] + aside[1])
    there, here = _windows(soft.shape, image.shape[:2], place)
    keep = cv2.cvtColor(255 - soft[here] // 2, cv2.COLOR_GRAY2RGB).astype(np.uint16)
    image[there] = (image[there] * keep) // 255


def colours(rng: np.random.Generator, saturation: float, depth: float) -> Floats:
    """Two RGB colours (2, 3) in 0..255; at most `saturation`, drawn together by `depth` 0..1."""
    hue = rng.uniform(0, 180) + np.array([0.0, rng.normal(0, 25)])
    hsv = np.stack([hue % 180, 255 * rng.uniform(0.1, saturation, 2), rng.uniform(40, 255, 2)])
    pixels = np.clip(hsv.T, 0, 255).astype(np.uint8)[None]
    pair = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_HSV2RGB)[0], np.float64)
    mean = pair.mean(axis=0)
    return np.asarray(mean + depth * (pair - mean))


def texture(
    rng: np.random.Generator,
    size_hw: tuple[int, ...],
    pair: Floats,
    period_px: tuple[float, float],
) -> Bytes:
    """(h, w, 3) uint8: one of six patterns, shaded between the two colours of `pair`."""
    period = float(np.exp(rng.uniform(*np.log(period_px))))
    angle = rng.uniform(0, np.pi)
    u, v = _phase(rng, size_hw, period, angle), _phase(rng, size_hw, period, angle + np.pi / 2)
    pattern = int(rng.integers(6))
    if pattern == 0:
        field = _SQUARE[u]
    elif pattern == 1:
        field = _SINE[u]
    elif pattern == 2:
        field = np.asarray(cv2.absdiff(_SQUARE[u], _SQUARE[v]), np.uint8)
    elif pattern == 3:
        field = _DOT[cv2.addWeighted(_SINE[u], 0.5, _SINE[v], 0.5, 0)]
    elif pattern == 4:
        field = _SINE[_phase(rng, size_hw, 2.5 * max(size_hw), angle)]
    else:
        field = _clouds(rng, size_hw, period)
    ramp = np.linspace(pair[0], pair[1], 256).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(cv2.cvtColor(field, cv2.COLOR_GRAY2RGB), ramp), np.uint8)


def _phase(
    rng: np.random.Generator, size_hw: tuple[int, ...], period_px: float, angle: float
) -> Bytes:
    """Phase of a plane wave, 256 steps a turn; uint8 addition wraps as phases do."""
    step = 256 / period_px
    y = np.arange(size_hw[0]) * (step * np.sin(angle)) + rng.uniform(0, 256)
    x = np.arange(size_hw[1]) * (step * np.cos(angle))
    rows, columns = ((v.astype(np.int64) & 255).astype(np.uint8) for v in (y, x))
    phase: Bytes = np.add.outer(rows, columns)
    return phase


def _clouds(rng: np.random.Generator, size_hw: tuple[int, ...], period_px: float) -> Bytes:
    """Smooth noise: random bytes on a coarse grid, enlarged."""
    grid = rng.integers(0, 256, [int(v / period_px * 2) + 2 for v in size_hw], np.uint8)
    large = cv2.resize(grid, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8)


def lit(rng: np.random.Generator, image: Bytes) -> Bytes:
    """Light falling off to one side, gamma, blur and sensor noise."""
    corners = rng.uniform(0.55, 1.2, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    lit = np.asarray(cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_8U), np.uint8)
    gamma = np.exp(rng.uniform(-0.35, 0.35))
    curve = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    lit = np.asarray(cv2.LUT(lit, curve), np.uint8)
    if rng.random() < 0.4:
        lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.4, 1.2)), np.uint8)
    sigma = rng.uniform(0, 9)
    grain = np.round(_NORMAL * sigma).astype(np.int16)
    noise = grain[np.frombuffer(rng.bytes(lit.size), np.uint8)].reshape(lit.shape)
    return np.asarray(cv2.add(lit, noise, dtype=cv2.CV_8U), np.uint8)
