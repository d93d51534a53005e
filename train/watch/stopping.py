"""Ctrl-C and SIGTERM while a run is on: they wait until its step is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)
DROPPED = signal.SIGCHLD
"""A worker's end, which torch would raise as an error in the middle of a step: often it got the
same signal. The loader finds a worker that is gone when it next waits for its batch."""


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """While the block lasts those two are kept; the first of them is delivered at its end.

    So none is lost in somebody's `except` either. In a thread that is not the main one, which gets
    no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: list[int] = []

    def keep(number: int, _: FrameType | None) -> None:
        if number in STOPPING:
            kept.append(number)

    before = {number: signal.signal(number, keep) for number in (*STOPPING, DROPPED)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if kept:
            signal.raise_signal(kept[0])
