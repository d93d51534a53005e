"""Box-frame masks to picture masks or COCO run lengths on the GPU.

    probabilities (N, m, m), boxes --`paste_masks` kernel--> pixels (N, W, H), down columns first
        --copy--> masks (N, H, W), or
        --`mark_runs` kernel--> one bit per pixel, set where a run ends --copy--> COCO counts

The pixels are those of `masks.paste_masks` on the same probabilities (FastMask's are upsampled
first, `mask_upsampling`), the counts those of `rle.counts_from_crop`. Every pixel of the picture is
computed and one bit of each copied back, whatever the objects' sizes, while the CPU's way costs
what the objects cover; which is faster depends on picture, masks and GPU, so measure. **Neither has
been run on a GPU**: the kernels are tested in Triton's interpreter.
"""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..errors import ContractError
from ..results.rle import Counts
from . import cuda
from .kernels.launch import Launch, kernel_here
from .kernels.shipped import Kernel
from .staging import Staging

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint32]

BITS_PER_WORD = 32
WHERE = "masks on the GPU"


def paste_masks_launch(
    kernel: Kernel, count: int, cells: int, image_hw: tuple[int, int], threshold: float
) -> Launch:
    """The launch that pastes `count` masks of (cells, cells); the threshold goes as its bits."""
    height, width = image_hw
    blocks = kernel.blocks
    grid = (count, -(-width // blocks["COLUMNS"]), -(-height // blocks["ROWS"]))
    return Launch(grid, (cells, height, width, int(np.float32(threshold).view(np.int32))))


def mark_runs_launch(kernel: Kernel, count: int, pixels: int) -> Launch:
    """The launch that marks the ends of runs in `count` masks of `pixels` each."""
    words = words_of(pixels)
    return Launch((count, -(-words // kernel.blocks["WORDS"]), 1), (pixels, words))


def words_of(pixels: int) -> int:
    """32-bit words that hold one bit per pixel."""
    return -(-pixels // BITS_PER_WORD)


def counts_from_marks(marks: Words, pixels: int) -> Counts:
    """COCO's uncompressed counts of one mask.

    Args:
        marks: (words,) uint32: bit b of word i is set where pixel 32 i + b, down columns first,
            differs from the one before it; the first is compared with background.
        pixels: height times width of the picture.

    Returns:
        (R,) int64, runs of 0 first, summing to `pixels`.
    """
    filled = np.flatnonzero(marks)
    bits = marks[filled, None] >> np.arange(BITS_PER_WORD, dtype=np.uint32) & np.uint32(1)
    word, bit = np.nonzero(bits)
    places = filled[word] * BITS_PER_WORD + bit
    return np.diff(places, prepend=0, append=pixels).astype(np.int64)


class GpuMasks(Closing):
    """The two kernels with memory that is kept from picture to picture. One thread at a time."""

    def __init__(self, stream: cuda.Stream, device: int = 0) -> None:
        """Load the kernels on GPU `device`, work to be queued on `stream`.

        Raises:
            BuildError: a kernel is missing from the package, or does not run on a GPU this old.
            SessionError: no NVIDIA GPU, driver or cuda-python here.
        """
        cuda.require_device(WHERE, device)
        self._stream = stream
        self._device = device
        self._paste, self._mark = kernel_here("paste_masks"), kernel_here("mark_runs")
        self._resources = contextlib.ExitStack()
        self._masks, self._boxes, self._pixels, self._marks = (Staging() for _ in range(4))
        for staging in (self._masks, self._boxes, self._pixels, self._marks):
            self._resources.callback(staging.close)

    def paste(
        self, masks: Float, boxes: Float, image_hw: tuple[int, int], threshold: float = 0.5
    ) -> Bool:
        """The masks in the picture; arguments and errors as `masks.paste_masks`.

        Returns:
            (N, H, W) bool, each mask column-major in memory. It takes N * H * W bytes on the host
            and on the GPU.
        """
        height, width = image_hw
        with cuda.using_device(self._device):
            if not self._queue_paste(masks, boxes, image_hw, threshold):
                return np.zeros((0, height, width), dtype=np.bool_)
            shape = (len(masks), width, height)
            pixels = self._pixels.download(shape, np.uint8, self._stream)
        return pixels.astype(np.bool_).swapaxes(1, 2)

    def counts(
        self, masks: Float, boxes: Float, image_hw: tuple[int, int], threshold: float = 0.5
    ) -> list[Counts]:
        """COCO's uncompressed counts of each mask, for `rle.compress`.

        Arguments and errors as `masks.paste_masks`.
        """
        count, pixels = len(masks), image_hw[0] * image_hw[1]
        with cuda.using_device(self._device):
            if not self._queue_paste(masks, boxes, image_hw, threshold):
                return []
            launch = mark_runs_launch(self._mark.kernel, count, pixels)
            shape = (count, words_of(pixels))
            marks = self._marks.room(shape[0] * shape[1] * np.dtype(np.uint32).itemsize)
            source = self._pixels.room(count * pixels)
            self._mark.launch(launch.grid, (source,), launch.scalars, marks, self._stream.handle)
            words = self._marks.download(shape, np.uint32, self._stream)
        return [counts_from_marks(row, pixels) for row in words]

    def _queue_paste(
        self, masks: Float, boxes: Float, image_hw: tuple[int, int], threshold: float
    ) -> bool:
        """Queue the pasting; False where there is nothing to paste."""
        if masks.ndim != 3 or masks.shape[1:2] != masks.shape[2:] or boxes.shape != (len(masks), 4):
            raise ContractError(
                f"{WHERE}: masks {masks.shape} and boxes {boxes.shape}; expected (N, m, m) and "
                "(N, 4). Pass one box per mask."
            )
        if not masks.size:
            return False
        inputs = [
            staging.upload(np.asarray(array, dtype=np.float32), self._stream)
            for staging, array in ((self._masks, masks), (self._boxes, boxes))
        ]
        kernel = self._paste.kernel
        launch = paste_masks_launch(kernel, len(masks), masks.shape[1], image_hw, threshold)
        pixels = self._pixels.room(len(masks) * image_hw[0] * image_hw[1])
        self._paste.launch(launch.grid, inputs, launch.scalars, pixels, self._stream.handle)
        return True

    def close(self) -> None:
        """Free the memory; may be called twice."""
        self._resources.close()
