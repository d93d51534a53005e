"""Video files frame by frame, in and out, through OpenCV.

Separate from `sources` because OpenCV says nothing when a video breaks: it stops reading early, and
it drops what it cannot write. Both are counted here and become sentences.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..closing import Closing
from ..errors import InputError
from ..files import atomic_path
from .opencv import quiet_opencv

Image = npt.NDArray[np.uint8]

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv")
FALLBACK_FPS = 25.0
"""For containers that state no frame rate."""
WHOLE_SHARE = 0.9
"""A container states its number of frames, some only about: fewer than this share is a cut file."""


MOST_TICKS = 65535
"""MPEG-4 counts time in at most so many parts of a second. OpenCV takes the frame rate as a decimal
fraction, so 211.222 would need 211222 of them."""

LEAST_FPS = 0.002
"""OpenCV takes less for none."""


class BrokenVideoError(InputError):
    """A video cannot be read to its end."""


def captured(capture: Any) -> Iterator[Image]:
    """Frames of a `cv2.VideoCapture`, (H, W, 3) uint8 RGB, until it gives no more."""
    import cv2

    while True:
        with quiet_opencv():
            found, bgr = capture.read()
        if not found:
            return
        yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


class VideoReader(Closing):
    """An opened video."""

    def __init__(self, path: Path) -> None:
        """Open `path`; BrokenVideoError when OpenCV cannot."""
        import cv2

        self.path = path
        with quiet_opencv():
            self._capture: Any = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise _unreadable(path, "it cannot be opened")
        self.stated_frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        """As the container says; 0 when it does not."""
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if np.isfinite(fps) and fps > 0 else FALLBACK_FPS

    def frames(self) -> Iterator[Image]:
        """Every frame, (H, W, 3) uint8 RGB, the rotation that the file asks for applied.

        Raises:
            BrokenVideoError: there is no frame, or far fewer than the container states.
        """
        count = 0
        for frame in captured(self._capture):
            count += 1
            yield frame
        if count == 0 or count < WHOLE_SHARE * self.stated_frames:
            raise _unreadable(self.path, f"{count} of {self.stated_frames} frames can be read")

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self._capture.release()


@contextlib.contextmanager
def video_writer(final: Path, fps: float) -> Iterator[Callable[[Image], None]]:
    """A function that appends (H, W, 3) uint8 RGB frames of one size to the MP4 file `final`.

    The file gets its name when the block succeeds, after it was opened and its frames counted. An
    odd side grows by a copy of its last row or column, as MPEG-4 takes even ones; the frame rate is
    rounded to what MPEG-4 can state, by 0.005 where it is below 655.

    Raises:
        InputError: it cannot be written.
    """
    # The encoder takes the container from the suffix, so the file is made in a hidden folder.
    with (
        atomic_path(final) as temporary,
        tempfile.TemporaryDirectory(prefix=".maskrt-", suffix=".tmp", dir=final.parent) as folder,
    ):
        clip = Path(folder) / "clip.mp4"
        frames = _FrameWriter(clip, fps)
        try:
            yield frames.append
        finally:
            frames.close()
        frames.check()
        clip.replace(temporary)


def encodable_fps(fps: float) -> float:
    """The nearest frame rate that MPEG-4 and OpenCV's decimal fractions both hold."""
    for decimals in (3, 2, 1):
        if fps * 10**decimals <= MOST_TICKS:
            return max(round(fps, decimals), LEAST_FPS)
    return float(min(round(fps), MOST_TICKS))


class _FrameWriter:
    """OpenCV's writer, opened at the first frame, whose size it needs."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, encodable_fps(fps)
        self._writer: Any = None
        self._count = 0

    def append(self, frame: Image) -> None:
        import cv2

        odd_height, odd_width = frame.shape[0] % 2, frame.shape[1] % 2
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        bgr = cv2.copyMakeBorder(bgr, 0, odd_height, 0, odd_width, cv2.BORDER_REPLICATE)
        if self._writer is None:
            size_wh = (bgr.shape[1], bgr.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            with quiet_opencv():
                self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, size_wh)
        self._writer.write(bgr)
        self._count += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def check(self) -> None:
        """OSError unless the file holds what was appended."""
        try:
            with VideoReader(self._path) as written:
                found = written.stated_frames
        except BrokenVideoError:
            found = 0
        if found != self._count:
            raise OSError(f"the encoder kept {found} of {self._count} frames")


def _unreadable(path: Path, found: str) -> BrokenVideoError:
    return BrokenVideoError(
        f"{path}: not a whole video ({found}); expected MP4, AVI, MOV or MKV that OpenCV decodes. "
        "Open it in a player, or convert it again."
    )
