"""Outlines of what is drawn: closed, in units of about the object's radius."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CLASS_NAMES = (
    "circle",
    "square",
    "triangle",
    "pentagon",
    "star",
    "cross",
    "ring",
    "heart",
    "crescent",
    "arrow",
)
"""Of the shapes data set, in label order; the shipped checkpoints know these."""
NEW_NAMES = ("hourglass", "gear", "bolt")
"""Which no shipped checkpoint has seen, for fine-tuning."""


def _circle(points: int, radius: float = 1.0, start: float = 0.0) -> Floats:
    angle = start + 2 * np.pi * np.arange(points) / points
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _star() -> Floats:
    radius = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return _circle(10) * radius[:, None]


def _cross() -> Floats:
    w = 0.3
    arm = np.array([[1, -w], [1, w], [w, w]])
    turns = [np.linalg.matrix_power(np.array([[0.0, 1], [-1, 0]]), k) for k in range(4)]
    return np.concatenate([arm @ turn for turn in turns])


def _gear() -> Floats:
    """Eight teeth, flat at their tips and between them."""
    radius = np.where(np.arange(32) % 4 < 2, 1.0, 0.72)
    return _circle(32) * radius[:, None]


def _heart() -> Floats:
    t = 2 * np.pi * np.arange(48) / 48
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1) / 17


def _crescent() -> Floats:
    """The unit disc less a disc of radius 0.8 centred at (0.45, 0); they meet at x = 0.625."""
    tip_y = np.sqrt(1 - 0.625**2)
    outer = np.linspace(np.arctan2(tip_y, 0.625), 2 * np.pi - np.arctan2(tip_y, 0.625), 40)
    half = np.arctan2(tip_y, 0.625 - 0.45)
    inner = np.linspace(2 * np.pi - half, half, 32)[1:-1]
    inside = 0.8 * np.stack([np.cos(inner), np.sin(inner)], axis=1) + [0.45, 0]
    return np.concatenate([np.stack([np.cos(outer), np.sin(outer)], axis=1), inside])


_ARROW = np.array(
    [[-1, -0.2], [0.05, -0.2], [0.05, -0.62], [1, 0], [0.05, 0.62], [0.05, 0.2], [-1, 0.2]]
)
_HOURGLASS = np.array([[-0.8, -1], [0.8, -1], [0.12, 0], [0.8, 1], [-0.8, 1], [-0.12, 0]])
_BOLT = np.array(
    [[0.25, -1], [-0.55, 0.15], [-0.05, 0.15], [-0.25, 1], [0.55, -0.2], [0.05, -0.2], [0.6, -1]]
)
# Filled by the even-odd rule: a second outline is a hole.
OUTLINES: dict[str, tuple[Floats, ...]] = {
    "circle": (_circle(64),),
    "square": (_circle(4, start=np.pi / 4),),
    "triangle": (_circle(3),),
    "pentagon": (_circle(5),),
    "star": (_star(),),
    "cross": (_cross(),),
    "ring": (_circle(64), _circle(64, radius=0.55)),
    "heart": (_heart(),),
    "crescent": (_crescent(),),
    "arrow": (_ARROW,),
    "hourglass": (_HOURGLASS,),
    "gear": (_gear(), _circle(32, radius=0.3)),
    "bolt": (_BOLT,),
}
