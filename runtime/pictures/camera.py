"""Cameras, of this machine or behind an address, frame by frame through OpenCV.

Separate from `video` because a camera has no end and no number of frames: what it gives until it
stops is all there is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..closing import Closing
from .opencv import quiet_opencv
from .video import FALLBACK_FPS, BrokenVideoError, Image, captured

ADDRESSES = ("rtsp:", "rtsps:")
PATIENCE_MS = 10_000
"""For an address to answer, and between two of its frames."""


@dataclass(frozen=True)
class Camera:
    """A source of frames: the N-th camera of this machine, or an RTSP address."""

    address: int | str

    @property
    def name(self) -> str:
        """As people may read it: the user and password of an address are left away."""
        if isinstance(self.address, int):
            return f"camera:{self.address}"
        return re.sub(r"//[^/]*@", "//", self.address)

    @property
    def stem(self) -> str:
        """The name as a file's, without suffix."""
        return re.sub(r"[^\w.]+", "-", self.name).strip("-")

    def __str__(self) -> str:
        return self.name


def camera_from_text(text: str) -> Camera | None:
    """The camera that `0`, `camera:0` or an RTSP address names; None where the text names none."""
    found = re.fullmatch(r"(?:camera:)?(\d{1,4})", text)
    if found:
        return Camera(int(found[1]))
    if text.startswith(ADDRESSES):  # a Path has lost one of the two slashes
        return Camera(re.sub(":/+", "://", text, count=1))
    return None


class CameraReader(Closing):
    """An opened camera."""

    stated_frames = 0
    """Nobody knows how many will come."""

    def __init__(self, camera: Camera) -> None:
        """Open it; BrokenVideoError where OpenCV cannot."""
        import cv2

        self._camera = camera
        waits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        with quiet_opencv():
            if isinstance(camera.address, int):
                self._capture: Any = cv2.VideoCapture(camera.address)
            else:
                # FFmpeg's own words, which OpenCV's silence does not reach; read once a process
                os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
                limits = [value for wait in waits for value in (wait, PATIENCE_MS)]
                self._capture = cv2.VideoCapture(camera.address, cv2.CAP_FFMPEG, limits)
        if not self._capture.isOpened():
            raise _silent(camera)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if np.isfinite(fps) and fps > 0 else FALLBACK_FPS

    def frames(self) -> Iterator[Image]:
        """Frames as they come, (H, W, 3) uint8 RGB, until the camera gives no more.

        Raises:
            BrokenVideoError: there is not even one.
        """
        count = 0
        for frame in captured(self._capture):
            count += 1
            yield frame
        if count == 0:
            raise _silent(self._camera)

    def close(self) -> None:
        """Let go of the camera; a second call does nothing."""
        self._capture.release()


def _silent(camera: Camera) -> BrokenVideoError:
    where = "a camera of this machine, counted from 0"
    if isinstance(camera.address, str):
        where = f"an RTSP stream within {PATIENCE_MS // 1000} s"
    return BrokenVideoError(
        f"{camera}: gives no frame; expected {where}. Try it in a player, and end what else uses "
        "it."
    )
