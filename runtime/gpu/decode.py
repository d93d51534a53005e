"""Picture files decoded on the GPU by nvImageCodec, where it is installed (extra `gpu-decode`).

Optional: the default is OpenCV on the host. JPEG decoders differ by a few grey levels where they
round and where they interpolate colour, so accuracy is measured with OpenCV's pictures.

Written to the library's documentation and tested with a stand-in of it; **it has not been run on a
GPU**.
Source: nvImageCodec 0.5 to 0.8, `nvidia.nvimgcodec.Decoder`; without parameters it gives 8-bit RGB
with the EXIF orientation applied.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ..errors import InputError, SessionError, pip_line
from . import cuda


def read_image_on_gpu(path: str | Path, stream: cuda.Stream) -> Any:
    """Queue the decoding of a picture file on `stream`.

    Returns:
        An array in GPU memory with `__cuda_array_interface__`, (H, W, 3) uint8 RGB, which
        `GpuPictures.place` takes.

    Raises:
        InputError: no such file, not readable, or nothing that nvImageCodec decodes.
        SessionError: nvImageCodec is not installed.
    """
    decoder = _decoder()
    try:
        data = Path(path).read_bytes()
    except OSError as err:
        raise InputError(
            f"{path}: could not be read ({err.strerror}); expected a picture file. Check the path."
        ) from err
    image = decoder.decode(data, cuda_stream=stream.handle)
    if image is None:
        raise InputError(
            f"{path}: not decoded by nvImageCodec ({len(data)} bytes); expected a whole JPEG or "
            "another format it knows. Read it with read_image, which decodes on the host."
        )
    return image


@functools.cache
def _decoder() -> Any:
    """One for the process: it holds the GPU's decoding units and their memory."""
    try:
        from nvidia import nvimgcodec
    except ImportError as err:
        raise SessionError(
            f"decoding on the GPU: nvImageCodec is not usable ({err}); expected it. "
            f"{pip_line('gpu-decode')}, or decode on the host with read_image."
        ) from err
    return nvimgcodec.Decoder()
