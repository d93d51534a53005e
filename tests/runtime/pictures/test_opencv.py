from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.pictures.opencv import quiet_opencv
from maskrt.runtime.pictures.preprocess import read_image

logging = cv2.utils.logging


@pytest.fixture(autouse=True)
def level() -> Iterator[int]:
    """A level that is not silence, and not what OpenCV starts with."""
    before = logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    yield logging.LOG_LEVEL_ERROR
    logging.setLogLevel(before)


def test_the_level_comes_back_when_the_last_thread_is_out(level: int) -> None:
    with quiet_opencv():
        with quiet_opencv():
            assert logging.getLogLevel() == logging.LOG_LEVEL_SILENT
        assert logging.getLogLevel() == logging.LOG_LEVEL_SILENT
    assert logging.getLogLevel() == level


def test_threads_that_overlap_leave_the_level_as_it_was(level: int) -> None:
    """Each goes in while another is inside: saving and restoring alone would keep the silence."""
    meeting = threading.Barrier(4, timeout=30)

    def overlap(_: int) -> None:
        meeting.wait()
        for _ in range(200):
            with quiet_opencv():
                assert logging.getLogLevel() == logging.LOG_LEVEL_SILENT

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(overlap, range(4)))
    assert logging.getLogLevel() == level


def test_reading_in_threads_leaves_the_level_as_it_was(level: int, tmp_path: Path) -> None:
    whole, broken = tmp_path / "a.png", tmp_path / "b.png"
    assert cv2.imwrite(str(whole), np.zeros((200, 300, 3), np.uint8))
    broken.write_bytes(whole.read_bytes()[:60])

    def read(index: int) -> None:
        if index % 2:
            read_image(whole)
            return
        with pytest.raises(InputError, match="not a whole picture"):
            read_image(broken)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(100)))
    assert logging.getLogLevel() == level
