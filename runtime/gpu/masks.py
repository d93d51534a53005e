"""Masks to COCO's run lengths on the GPU: what `results/pasting.py` does on the CPU.

    probabilities (N, m, m), frames --`paste_masks` kernel--> pixels (N, W, H), down columns first
        --`mark_runs` kernel--> one bit per pixel, set where a run ends --copy--> COCO counts, boxes

The numbers are the CPU's: FastMask's masks are upsampled on the host (`mask_upsampling`), and the
kernels do the same sums in the same order. Every pixel of the picture is computed and one bit of
each copied back, whatever the objects' sizes, while the CPU's way costs what the objects cover;
which is faster depends on picture, masks and GPU, so measure. **Not yet run on a GPU**: the kernels
are tested in Triton's interpreter, the calls on stand-ins.
"""

from __future__ import annotations

import contextlib

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..results.pasting import (
    TOGETHER,
    FramedMasks,
    Pasted,
    box_from_counts,
    paste_on_cpu,
)
from ..results.rle import Counts
from . import cuda
from .kernels.launch import Launch, kernel_here
from .kernels.shipped import Kernel
from .staging import Staging

Float = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint32]

BITS_PER_WORD = 32
MOST_PIXELS = 1 << 27
"""Pasted at a time, a byte each; of one mask, a grid of 65535 blocks holds some twice as many."""
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

    def __init__(self, device: int = 0) -> None:
        """Load the kernels on GPU `device`.

        Raises:
            BuildError: a kernel is missing from the package, or does not run on a GPU this old.
            SessionError: no NVIDIA GPU, driver or cuda-python here.
        """
        cuda.require_device(WHERE, device)
        self._device = device
        self._resources = contextlib.ExitStack()
        try:
            with cuda.using_device(device):
                self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._stream = cuda.Stream()
        self._resources.callback(self._stream.close)
        self._paste, self._mark = kernel_here("paste_masks"), kernel_here("mark_runs")
        self._masks, self._boxes, self._pixels, self._marks = (Staging() for _ in range(4))
        for staging in (self._masks, self._boxes, self._pixels, self._marks):
            self._resources.callback(staging.close)
        self._resources.callback(self._stream.synchronize)  # before any memory is freed

    def paste(self, masks: FramedMasks) -> Pasted:
        """Paste the masks of one picture; a `pasting.Paster`.

        They go in parts whose pixels fit in `MOST_PIXELS`; those of a picture larger than that, in
        which a byte per pixel is a lot to compute and more blocks than a GPU starts, are pasted on
        the CPU.

        Raises:
            ContractError: a probability that is to be upsampled is NaN or outside [0, 1].
            SessionError: closed, too little GPU memory, or CUDA failed.
        """
        height, width = masks.image_hw
        if height * width > MOST_PIXELS:
            return paste_on_cpu(masks)
        fitting = MOST_PIXELS // (height * width)
        together = fitting if masks.upsampling == 1 else min(fitting, TOGETHER)
        counts: list[Counts] = []
        with cuda.using_device(self._device):
            for maps, frames in masks.parts(together):
                counts += self._counts(maps, frames, masks)
        boxes = [box_from_counts(one, height) for one in counts]
        return Pasted(counts, np.array(boxes, dtype=np.float32).reshape(-1, 4))

    def _counts(self, maps: Float, frames: Float, masks: FramedMasks) -> list[Counts]:
        """COCO's counts of maps that fit in the memory together."""
        height, width = masks.image_hw
        pixels = height * width
        inputs = [self._masks.upload(maps, self._stream), self._boxes.upload(frames, self._stream)]
        pasted = self._pixels.room(len(maps) * pixels)
        paste = paste_masks_launch(
            self._paste.kernel, len(maps), maps.shape[1], masks.image_hw, masks.threshold
        )
        self._paste.launch(paste.grid, inputs, paste.scalars, pasted, self._stream.handle)
        shape = (len(maps), words_of(pixels))
        marks = self._marks.room(shape[0] * shape[1] * np.dtype(np.uint32).itemsize)
        mark = mark_runs_launch(self._mark.kernel, len(maps), pixels)
        self._mark.launch(mark.grid, (pasted,), mark.scalars, marks, self._stream.handle)
        words = self._marks.download(shape, np.uint32, self._stream)
        return [counts_from_marks(row, pixels) for row in words]

    def close(self) -> None:
        """Free the memory; may be called twice."""
        cuda.close_on(self._device, self._resources)
