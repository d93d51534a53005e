"""The GPU's way of pictures and masks, around an engine on the same GPU (`pictures="gpu"`).

    JPEG --nvImageCodec--> picture --`place_picture`--> canvases --engine--> outputs
    other --OpenCV, copy--^                  --`paste_masks`, `mark_runs`--> COCO counts and boxes

Canvases equal the CPU's within one grey level, 99 % of their values exactly; masks are the CPU's,
pixel by pixel (tests/engines/kernels). A picture that nvImageCodec decodes differs by a few grey
levels from OpenCV's. **Not yet run on a GPU**, nor timed: tests run it on stand-ins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..closing import Closing
from ..contract import Contract
from ..pictures.picture_path import Picture, Sizes
from ..pictures.preprocess import picture_bytes, read_image
from ..pictures.sources import JPEG_SUFFIXES
from ..results.pasting import FramedMasks, Pasted
from .decode import GpuDecoder
from .device_array import DeviceArray
from .masks import GpuMasks
from .pictures import GpuPictures
from .pool import Pool


class GpuPath(Closing):
    """Implements `PicturePath`. Each thread that is in it at once has GPU memory of its own."""

    def __init__(self, contract: Contract, device: int = 0) -> None:
        """Load the kernels and allocate for one thread on GPU `device`.

        Raises:
            BuildError: a kernel is missing from the package, or does not run on a GPU this old.
            SessionError: no NVIDIA GPU, driver or cuda-python here, or too little free memory.
        """
        with contextlib.ExitStack() as stack:
            self._pictures = stack.enter_context(Pool(partial(GpuPictures, contract, device)))
            self._masks = stack.enter_context(Pool(partial(GpuMasks, device)))
            self._decoder = stack.enter_context(GpuDecoder(device))
            self._resources = stack.pop_all()

    def read_image(self, path: str | Path) -> Picture:
        """Decode a JPEG on the GPU where nvImageCodec can, anything else on the CPU.

        Raises:
            InputError: as `preprocess.read_image`.
        """
        path = Path(path)
        if path.suffix.lower() in JPEG_SUFFIXES:
            image = self._decoder.decode(picture_bytes(path))
            if image is not None:
                return image
        return read_image(path)

    def place(self, images: Sequence[Picture]) -> tuple[DeviceArray, Sizes]:
        """Queue the placing of one batch; whoever reads the canvases waits for it.

        Args:
            images: at most B pictures of any sizes, in host memory or in this GPU's, where they
                must keep their values until the session has run.

        Returns:
            Canvases (B, H, W, 3) uint8 in GPU memory, nobody else's until their last reference
            goes, and valid sizes (B, 2) int32.

        Raises:
            ContractError, SessionError: as `GpuPictures.place`.
        """
        with contextlib.ExitStack() as stack:
            pictures = self._pictures.take()
            stack.callback(pictures.close)
            sizes = pictures.place(images)
            stack.pop_all()
        canvases = dataclasses.replace(pictures.images)
        weakref.finalize(canvases, self._pictures.give, pictures).atexit = False
        return canvases, sizes

    def paste(self, masks: FramedMasks) -> Pasted:
        """See `GpuMasks.paste`."""
        with self._masks.lent() as gpu:
            return gpu.paste(masks)

    def close(self) -> None:
        """Free the memory that nobody uses, the rest as it comes back; may be called twice."""
        self._resources.close()
