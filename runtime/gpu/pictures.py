"""Pictures to canvases on the GPU: upload the decoded picture, scale and place it there.

    pictures --pinned copy--> GPU --`place_picture` kernel--> canvases (B, H, W, 3)

What `preprocess.place_on_canvas` does, for sessions on the same GPU: the canvas never is in host
memory, so the CPU neither scales nor clears it, and a picture smaller than its canvas is fewer
bytes to copy. The kernel computes what OpenCV's INTER_LINEAR computes for bytes; its source
(`engines/kernels/picture_kernel.py`) has the arithmetic. Tests hold it to one grey level of the
CPU's canvas and 99 % equal values.

Pictures are decoded on the host (`preprocess.read_image`), or on the GPU (`decode`), whose
arrays are taken without a copy and at any address. **Not yet run on a GPU.**
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..contract import Contract, TensorSpec
from ..errors import ContractError, SessionError
from ..pictures.preprocess import EMPTY_SLOT_HW, Image, checked_image, scaled_size_hw
from . import cuda
from .device_array import DeviceArray, device_array_from
from .kernels.launch import Launch, kernel_here
from .kernels.shipped import Kernel
from .staging import Staging

KERNEL = "place_picture"
CHANNELS = 3
WHERE = "pictures on the GPU"


def place_picture_launch(
    kernel: Kernel,
    picture_hw: tuple[int, int],
    scaled_hw: tuple[int, int],
    canvas_hw: tuple[int, int],
    slot: int,
) -> Launch:
    """The launch that fills canvas `slot`.

    Args:
        kernel: `place_picture`.
        picture_hw: the picture's height and width, in pixels.
        scaled_hw: what it takes of the canvas, within it.
        canvas_hw: height and width of a canvas.
        slot: 0..B-1.
    """
    height, width = canvas_hw
    grid = (-(-height // kernel.blocks["ROWS"]), -(-width * CHANNELS // kernel.blocks["BYTES"]), 1)
    return Launch(grid, (*picture_hw, *scaled_hw, slot, *canvas_hw))


class GpuPictures(Closing):
    """The canvases of one artefact in GPU memory, at fixed addresses. One thread at a time.

    Work is queued on a stream of its own; `images` tells readers to wait for it. The next `place`
    overwrites it: a session that reads it on another stream must have finished. With two of these
    objects, one is filled while the session reads the other.
    """

    images: DeviceArray
    """Canvases (B, H, W, 3) uint8 RGB."""

    def __init__(self, contract: Contract, device: int = 0) -> None:
        """Allocate the canvases of `contract` on GPU `device`.

        Raises:
            BuildError: the kernel is missing from the package, or does not run on a GPU this old.
            SessionError: no NVIDIA GPU, driver or cuda-python here, or too little free memory.
        """
        self.contract = contract
        self.device = device
        self._resources = contextlib.ExitStack()
        cuda.require_device(WHERE, device)
        try:
            with cuda.using_device(device):
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.stream = cuda.Stream()
        self._resources.callback(self.stream.close)
        batch, (height, width) = self.contract.batch, self.contract.canvas_hw
        canvases = cuda.DeviceBuffer(batch * height * width * CHANNELS)
        self._resources.callback(canvases.close)
        self._pictures = [Staging() for _ in range(batch)]
        for staging in self._pictures:
            self._resources.callback(staging.close)
        self._placed = _Event()
        self._resources.callback(self._placed.close)
        self._resources.callback(self._placed.wait)  # before any memory is freed
        self._kernel = kernel_here(KERNEL)
        self._kept: list[Image | DeviceArray] = []
        shape, dtype = (batch, height, width, CHANNELS), np.dtype("uint8")
        self.images = DeviceArray(canvases.pointer, shape, dtype, self.device, self.stream)

    def place(self, images: Sequence[Any]) -> npt.NDArray[np.int32]:
        """Queue the upload of some pictures and their placing, each at the top left of its canvas.

        Slots without a picture become black with valid size 1 x 1, as on the CPU.

        Args:
            images: at most `contract.batch` pictures, (H, W, 3) uint8 RGB of any sizes: numpy
                arrays, which may be changed at once, or arrays in this GPU's memory, which must
                keep their values until the stream has got here and are kept alive until then.

        Returns:
            Valid (height, width) on each canvas, (B, 2) int32.

        Raises:
            ContractError: more than B pictures, or one that is not non-empty (H, W, 3) uint8.
            SessionError: closed, or CUDA failed.
        """
        if not self._pictures:
            raise SessionError(f"{WHERE}: closed; expected an open one. Make another GpuPictures.")
        if len(images) > self.contract.batch:
            raise ContractError(
                f"{self.contract.variant}: got {len(images)} pictures; one batch takes "
                f"{self.contract.batch}. Place them batch by batch."
            )
        with cuda.using_device(self.device):
            self._placed.wait()  # staging and pictures of the last call are free from here on
            self._kept = [self._checked(image, index) for index, image in enumerate(images)]
            sizes = np.full((self.contract.batch, 2), EMPTY_SLOT_HW, dtype=np.int32)
            rule, canvas_hw = self.contract.resize, self.contract.canvas_hw
            for slot, image in enumerate(self._kept):
                height, width = scaled_size_hw(_size_hw(image), rule, canvas_hw)
                self._place(image, (height, width), slot)
                sizes[slot] = height, width
            for slot in range(len(images), self.contract.batch):
                self._place(np.zeros((*EMPTY_SLOT_HW, CHANNELS), np.uint8), EMPTY_SLOT_HW, slot)
            self._placed.record(self.stream)
        return sizes

    def _checked(self, image: Any, index: int) -> Image | DeviceArray:
        """A picture in host memory, or one in GPU memory whose producer the stream waits for."""
        if isinstance(image, np.ndarray) or not hasattr(image, "__cuda_array_interface__"):
            return checked_image(image, index)
        shape = tuple(int(side) for side in image.__cuda_array_interface__["shape"])
        if len(shape) != 3 or shape[2] != CHANNELS or min(shape) < 1:
            raise ContractError(
                f"picture {index}: got shape {shape}; expected non-empty (H, W, 3) uint8 RGB. "
                "Pass arrays of that shape; read_image makes them from files."
            )
        spec = TensorSpec(f"picture {index}", shape, "uint8")
        return device_array_from(image, spec, self.contract.variant, self.stream, self.device)

    def _place(self, image: Image | DeviceArray, scaled_hw: tuple[int, int], slot: int) -> None:
        """Queue one picture."""
        if isinstance(image, DeviceArray):
            address = image.pointer
        else:
            address = self._pictures[slot].upload(image, self.stream)
        kernel, canvas_hw = self._kernel.kernel, self.contract.canvas_hw
        launch = place_picture_launch(kernel, _size_hw(image), scaled_hw, canvas_hw, slot)
        self._kernel.launch(
            launch.grid, (address,), launch.scalars, self.images.pointer, self.stream.handle
        )

    def close(self) -> None:
        """Free the memory, and the stream if it is its own; may be called twice."""
        self._pictures, self._kept = [], []
        cuda.close_on(self.device, self._resources)


def _size_hw(image: Image | DeviceArray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


class _Event:
    """A point in a stream that the host can wait for; nothing to wait for before `record`."""

    def __init__(self) -> None:
        self._rt = cuda.load_cuda()
        self._event = cuda.check(self._rt.cudaEventCreateWithFlags(self._rt.cudaEventDisableTiming))

    def record(self, stream: cuda.Stream) -> None:
        """Take the point after everything that is queued on `stream`."""
        cuda.check(self._rt.cudaEventRecord(self._event, stream.handle))

    def wait(self) -> None:
        """Wait until the stream got there."""
        cuda.check(self._rt.cudaEventSynchronize(self._event))

    def close(self) -> None:
        """Destroy the event."""
        cuda.check(self._rt.cudaEventDestroy(self._event))
