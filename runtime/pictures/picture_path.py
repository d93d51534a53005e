"""The way of pictures to a session and of masks from it: the seam between CPU and GPU.

    files --read_image--> pictures --place--> canvases --Session.run--> outputs --paste--> masks

`Predictor` takes one way and so does everything that times it. This one is the CPU's;
`gpu/picture_path.py` has the GPU's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..contract import Contract
from ..results.pasting import Paster
from .preprocess import Image, place_on_canvas, read_image

Sizes = npt.NDArray[np.int32]
Canvases = Any
"""(B, H, W, 3) uint8 RGB, for `Session.run`: a numpy array, or with the GPU's way a `DeviceArray`,
which holds its memory until its last reference goes."""


class GpuImage(Protocol):
    """A picture in GPU memory, (H, W, 3) uint8 RGB: an array of any library."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""
        ...

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


Picture = Image | GpuImage


class PicturePath(Protocol):
    """What differs between pictures on the CPU and on the GPU. Threads may share one."""

    @property
    def paste(self) -> Paster | None:
        """Pastes masks as soon as they are there; None: on the CPU, when they are asked for."""
        ...

    def read_image(self, path: str | Path) -> Picture:
        """A picture file as `place` takes it; errors as `preprocess.read_image`."""
        ...

    def place(self, images: Sequence[Picture]) -> tuple[Canvases, Sizes]:
        """One batch of pictures to canvases and valid sizes; as `preprocess.place_on_canvas`."""
        ...

    def close(self) -> None:
        """Release what it holds; a second call does nothing."""
        ...


class CpuPath:
    """Pictures are decoded and placed by OpenCV, masks pasted by numpy when they are asked for."""

    paste: Paster | None = None

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    def read_image(self, path: str | Path) -> Image:
        """See `preprocess.read_image`."""
        return read_image(path)

    def place(self, images: Sequence[Any]) -> tuple[Image, Sizes]:
        """See `preprocess.place_on_canvas`."""
        return place_on_canvas(images, self._contract)

    def close(self) -> None:
        """Nothing is held."""
