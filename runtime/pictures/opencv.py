"""OpenCV kept quiet while it reads what may be broken: the caller says it in one sentence instead.

OpenCV's log level is the process's, so threads that read at the same time share one silence: the
first one in turns the log off, the last one out puts back what was there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class _Silence:
    """How many threads want it, and the level from before the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level_before = 0

    def enter(self) -> None:
        from cv2.utils import logging

        with self._lock:
            if self._inside == 0:
                self._level_before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
            self._inside += 1

    def leave(self) -> None:
        from cv2.utils import logging

        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                logging.setLogLevel(self._level_before)


_SILENCE = _Silence()


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV prints nothing in this block; any number of threads may be in one."""
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()
