"""JPEG decoded on the GPU by nvImageCodec, where it is installed (extra `gpu-decode`).

Decoders differ by a few grey levels where they round and where they interpolate colour, so accuracy
is measured with OpenCV's pictures.

Written to the library's documentation and tested with a stand-in of it; **it has not been run on a
GPU**.
Source: nvImageCodec 0.5 to 0.9, `nvidia.nvimgcodec.Decoder`; without parameters it gives 8-bit RGB
with the EXIF orientation applied.
"""

from __future__ import annotations

import functools
import threading
import warnings
from typing import Any

import numpy as np

from ..closing import Closing
from ..errors import MaskRTWarning, pip_line
from ..pictures.picture_path import GpuImage, Picture
from ..pictures.preprocess import Image
from . import cuda


class GpuDecoder(Closing):
    """The decoder of one GPU and a stream for it. Threads that share one wait."""

    def __init__(self, device: int = 0) -> None:
        """Make the stream; nvImageCodec is loaded with the first picture."""
        self._device = device
        self._one_at_a_time = threading.Lock()
        with cuda.using_device(device):
            self._stream = cuda.Stream()

    def decode(self, data: bytes) -> GpuImage | None:
        """A picture file's bytes as (H, W, 3) uint8 RGB in GPU memory.

        None where nvImageCodec does not decode them, or is not installed, which a MaskRTWarning
        tells once.
        """
        with self._one_at_a_time, cuda.using_device(self._device):
            decoder = _decoder(self._device)
            if decoder is None:
                return None
            image: GpuImage | None = decoder.decode(data, cuda_stream=self._stream.handle)
        return image

    def close(self) -> None:
        """Destroy the stream; may be called twice."""
        with self._one_at_a_time, cuda.using_device(self._device):
            self._stream.close()


def to_host(picture: Picture) -> Image:
    """A picture as a numpy array: itself, or a copy of what nvImageCodec decoded."""
    if isinstance(picture, np.ndarray):
        return picture
    decoded: Any = picture
    return np.asarray(decoded.cpu(), dtype=np.uint8)


@functools.cache
def _decoder(device: int) -> Any | None:
    """One for the process: it holds the GPU's decoding units and their memory."""
    try:
        from nvidia import nvimgcodec
    except ImportError as err:
        warnings.warn(
            f"pictures on the GPU: nvImageCodec is not usable ({err}); expected it to decode JPEG "
            f"there. They are decoded on the CPU. {pip_line('gpu-decode')}",
            MaskRTWarning,
            stacklevel=5,  # whoever asked the predictor
        )
        return None
    return nvimgcodec.Decoder(device_id=device)
