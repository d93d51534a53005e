"""Pictures as callers have them: arrays, paths, or Pillow's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np

from ..errors import ContractError
from .picture_path import Picture
from .preprocess import Image

DEEP_MODES = ("I", "F")
"""Pillow cuts their values off at 255; modes such as I;16 begin so too."""


class PilPicture(Protocol):
    """A picture of Pillow."""

    @property
    def mode(self) -> str:
        """Its kind of pixels, as "RGB"."""
        ...

    def convert(self, mode: str, /) -> Any:
        """The same with other pixels."""
        ...


Given = Picture | PilPicture | str | Path


def one_or_more(images: Given | Sequence[Given]) -> Sequence[Given]:
    """Several pictures, of one a list of it."""
    one_or_several: Any = images
    return [one_or_several] if is_one(images) else one_or_several


def is_one(images: object) -> bool:
    """Whether this is one picture, and not several."""
    one_array = not isinstance(images, list) and len(getattr(images, "shape", ())) == 3
    return one_array or isinstance(images, (str, Path)) or is_pil(images)


def is_pil(image: object) -> TypeGuard[PilPicture]:
    """Whether it is Pillow's, which need not be installed."""
    return hasattr(image, "convert") and hasattr(image, "mode")


def image_from_pil(image: PilPicture) -> Image:
    """(H, W, 3) uint8 RGB, as `read_image` gives it: grey in three channels, without alpha.

    An EXIF orientation is not applied: the pixels are those that `image.size` speaks of.

    Raises:
        ContractError: more than 8 bits a channel, whose white nobody knows.
    """
    if image.mode.startswith(DEEP_MODES):
        raise ContractError(
            f"a picture of Pillow in mode '{image.mode}' found; expected 8 bits a channel. Scale "
            "its values to 0..255 first, or give its file's path."
        )
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def require_several(images: Iterable[Given], method: str) -> None:
    """ContractError where one picture came instead of a list; `method` is what got it."""
    if is_one(images):
        found = getattr(images, "shape", type(images).__name__)
        raise ContractError(
            f"{method}: got one picture ({found}); expected a list of pictures. "
            f"Write {method}([image])."
        )
